"""Training and evaluation in two processes, compared with one process and after interruptions."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import train
from tests.distributed.torchrun import (
    DROPOUT,
    FROZEN_ENCODER,
    PLAIN_SGD,
    SETTINGS,
    command,
    free_port,
    launch,
    make_data,
    read_losses,
    read_weights,
    start_training,
)
from tests.factories import ROOT, write_params
from tests.stage_runner import WRITTEN, arguments, run_stage


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and the outputs of an uninterrupted training in two processes."""
    folder = make_data(tmp_path_factory.mktemp("trained"), **DROPOUT, **FROZEN_ENCODER)
    launch(2, "train", folder, folder)
    return folder


def require_equal(actual: Path, expected: Path) -> None:
    """Compare the weights of all epochs, the history and the metrics."""
    ours, theirs = read_weights(actual), read_weights(expected)
    assert ours.keys() == theirs.keys()
    for name, tensors in theirs.items():
        assert tensors.keys() == ours[name].keys()
        for key, value in tensors.items():
            assert torch.equal(value, ours[name][key]), (name, key)
    for path in ("plots/history.csv", "metrics/train.json"):
        assert (actual / path).read_bytes() == (expected / path).read_bytes()


def test_one_process_resumes_the_training_of_two_with_the_results_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Train the first epoch in two processes and the second in one; compare with one process.

    Two processes sum in another order than one, so results agree up to the rounding of float32
    (6e-8), and each step amplifies the difference: rounding moves some pixels across the kink of a
    ReLU or to another bin of the Lovász loss. After six steps, the largest observed differences
    were 1.4e-7 (relative) in the losses and 3e-7 in the weights, which an epoch changes by 1e-5.
    """
    folder, resumed = make_data(tmp_path, train__epochs=1, **PLAIN_SGD), tmp_path / "resumed"
    printed = launch(2, "train", folder, resumed)
    assert "on 2 processes, cpu each in fp32" in printed
    assert printed.count("epoch 1/1") == 1  # only rank 0 prints
    write_params(folder / "params.yaml", **{**SETTINGS, **PLAIN_SGD, "train__epochs": 2})
    run_stage("plan", folder)
    run_stage("train", folder)
    capsys.readouterr()
    train.main(arguments("train", folder, resumed))
    assert "resuming after step 3" in capsys.readouterr().out
    np.testing.assert_allclose(read_losses(resumed), read_losses(folder), rtol=1e-6)
    ours, theirs = read_weights(resumed), read_weights(folder)
    assert ours.keys() == theirs.keys()
    for name, tensors in theirs.items():
        torch.testing.assert_close(ours[name], tensors, rtol=0, atol=1e-6)


def train_on_two_computers(source: Path, first: Path, second: Path) -> str:
    """Run one launcher for each; torchrun's rendezvous connects them. Return the first output."""
    port = str(free_port())
    launchers = [
        subprocess.Popen(
            command(1, "train", source, target),
            cwd=ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PET_NNODES": "2",
                "PET_NODE_RANK": rank,
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": port,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, target in (("1", second), ("0", first))
    ]
    logs = [process.communicate(timeout=120)[0] for process in launchers]
    assert [process.returncode for process in launchers] == [0, 0], logs
    return logs[1]


def test_resume_after_sigterm_and_sigkill_on_two_computers_gives_identical_weights(
    trained: Path, tmp_path: Path
):
    with start_training(trained, tmp_path, until="epoch 1/8") as (process, log):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert "the next run resumes from there" in log.read_text()
    with start_training(trained, tmp_path, until="resuming after step") as (process, log):
        _, second = sorted(process.children(), key=lambda child: child.pid)
        second.kill()
        assert process.wait(60) == 1
    assert f"(pid {second.pid}) was killed by SIGKILL, so all processes" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert len(read_weights(tmp_path)) < 8
    output = train_on_two_computers(trained, tmp_path, tmp_path / "second")
    assert "resuming after step" in output
    require_equal(tmp_path, trained)
    assert not (tmp_path / "second").exists()  # only rank 0 writes


def test_evaluation_in_two_processes_gives_the_bytes_of_one(trained: Path, tmp_path: Path):
    run_stage("evaluate", trained)
    (tmp_path / "params.yaml").symlink_to(trained / "params.yaml")
    launch(2, "evaluate", trained, tmp_path)
    for path in WRITTEN["evaluate"].values():
        assert (tmp_path / path).read_bytes() == (trained / path).read_bytes()


def test_error_of_one_process_is_reported_once(tmp_path: Path):
    folder = make_data(tmp_path)
    mask = next((folder / "data/prepared/masks").glob("*.npy"))
    damaged = bytearray(mask.read_bytes())
    damaged[200] = 77
    mask.write_bytes(damaged)
    result = subprocess.run(
        command(2, "train", folder, folder), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert result.stderr.count("error: ") == 1
    assert "class id 77" in result.stderr
    assert "Traceback" not in result.stderr
