"""Training and evaluation in two processes: against one process, and with interruptions."""

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
    PLAIN_SGD,
    SETTINGS,
    command,
    free_port,
    launched,
    losses,
    made_data,
    training,
    weights,
)
from tests.factories import ROOT, write_params
from tests.stage_runner import WRITTEN, arguments, run_stage


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and what two processes trained on it without an interruption."""
    folder = made_data(tmp_path_factory.mktemp("together"), **DROPOUT)
    launched(2, "train", folder, folder)
    return folder


def require_equal(found: Path, expected: Path) -> None:
    """Every weight of every epoch, the curves and the figures."""
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    for name, tensors in theirs.items():
        assert tensors.keys() == ours[name].keys()
        for key, value in tensors.items():
            assert torch.equal(value, ours[name][key]), (name, key)
    for path in ("plots/history.csv", "metrics/train.json"):
        assert (found / path).read_bytes() == (expected / path).read_bytes()


def test_two_processes_give_the_results_of_one_and_one_resumes_their_training(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    """The first epoch by two processes, the second by one, against both by one.

    Two processes add in another order than one, so results agree up to the rounding of float32
    (6e-8), and each step amplifies the difference: rounding moves some pixels over the edge of a
    ReLU, or of a bin of the Lovász loss. After six steps the largest differences seen were 1.4e-7
    (relative) of the losses and 3e-7 of the weights, which an epoch changes by 1e-5 and more.
    """
    folder, resumed = made_data(tmp_path, train__epochs=1, **PLAIN_SGD), tmp_path / "resumed"
    printed = launched(2, "train", folder, resumed)
    assert "on 2 processes, cpu each in fp32" in printed
    assert printed.count("epoch 1/1") == 1  # one of them prints
    write_params(folder / "params.yaml", **{**SETTINGS, **PLAIN_SGD, "train__epochs": 2})
    run_stage("train", folder)
    capsys.readouterr()
    train.main(arguments("train", folder, resumed))
    assert "resuming after step 3" in capsys.readouterr().out
    np.testing.assert_allclose(losses(resumed), losses(folder), rtol=1e-6)
    ours, theirs = weights(resumed), weights(folder)
    assert ours.keys() == theirs.keys()
    for name, tensors in theirs.items():
        torch.testing.assert_close(ours[name], tensors, rtol=0, atol=1e-6)


def test_two_computers_give_the_weights_of_one(together: Path, tmp_path: Path):
    """Each with a launcher of its own; they meet by torchrun's rendezvous."""
    port = str(free_port())
    both = [
        subprocess.Popen(
            command(1, "train", together, tmp_path / name),
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
        for rank, name in (("1", "second"), ("0", "first"))
    ]
    texts = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    require_equal(tmp_path / "first", together)
    assert not (tmp_path / "second").exists()  # one writes


def test_stopped_and_killed_it_gives_the_weights_of_an_uninterrupted_training(
    together: Path, tmp_path: Path
):
    with training(together, tmp_path, until="epoch 1/8") as (process, log):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert "the next run resumes from there" in log.read_text()
    with training(together, tmp_path, until="resuming after step") as (process, log):
        _, second = sorted(process.children(), key=lambda child: child.pid)
        second.kill()
        assert process.wait(60) == 1
    assert f"(pid {second.pid}) was killed by SIGKILL, so all have ended" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert len(weights(tmp_path)) < 8
    assert "resuming after step" in launched(2, "train", together, tmp_path)
    require_equal(tmp_path, together)


def test_two_processes_judge_as_one(together: Path, tmp_path: Path):
    run_stage("evaluate", together)
    (tmp_path / "params.yaml").symlink_to(together / "params.yaml")
    launched(2, "evaluate", together, tmp_path)
    for path in WRITTEN["evaluate"].values():
        assert (tmp_path / path).read_bytes() == (together / path).read_bytes()


def test_what_fails_in_one_is_told_once(tmp_path: Path):
    folder = made_data(tmp_path)
    mask = next((folder / "data/prepared/masks").glob("*.npy"))
    spoilt = bytearray(mask.read_bytes())
    spoilt[200] = 77
    mask.write_bytes(spoilt)
    result = subprocess.run(
        command(2, "train", folder, folder), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert result.stderr.count("error: ") == 1
    assert "class id 77" in result.stderr
    assert "Traceback" not in result.stderr
