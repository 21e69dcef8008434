"""Two processes do what one does: to the bit where train.parts asks for it, else to rounding."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.processes.launched import (
    EXACT,
    command,
    free_port,
    launched,
    losses,
    made_data,
    training,
    weights,
)
from tests.wiring import WRITTEN, run_stage


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained and judged by one process, in two parts; in `folder` itself."""
    folder = made_data(tmp_path_factory.mktemp("exact"), **EXACT)
    run_stage("train", folder)
    run_stage("evaluate", folder)
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


def test_two_processes_give_the_weights_of_one(exact: Path, tmp_path: Path):
    printed = launched(2, "train", exact, tmp_path)
    require_equal(tmp_path, exact)
    assert losses(tmp_path) == losses(exact)
    assert "on 2 processes, cpu each in fp32" in printed
    assert printed.count("epoch 8/8") == 1  # one of them prints


def test_two_computers_give_them_too(exact: Path, tmp_path: Path):
    """Each with a launcher of its own; they meet by torchrun's rendezvous."""
    port = str(free_port())
    both = [
        subprocess.Popen(
            command(1, "train", exact, tmp_path / name),
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
    require_equal(tmp_path / "first", exact)
    assert not (tmp_path / "second").exists()  # one writes


def test_stopped_and_killed_it_goes_on_with_another_number(exact: Path, tmp_path: Path):
    with training(exact, tmp_path, until="epoch 1/8") as (process, log):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert "the next run goes on from there" in log.read_text()
    with training(exact, tmp_path, until="goes on after step") as (process, log):
        _, second = sorted(process.children(), key=lambda child: child.pid)
        second.kill()
        assert process.wait(60) == 1
    assert f"(pid {second.pid}) was killed by SIGKILL, so all have ended" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert len(weights(tmp_path)) < 8
    for section in ("data/cache", "data/split.json", "params.yaml"):
        (tmp_path / section).parent.mkdir(exist_ok=True)
        (tmp_path / section).symlink_to(exact / section)
    run_stage("train", tmp_path)  # alone
    require_equal(tmp_path, exact)


def test_two_processes_judge_as_one(exact: Path, tmp_path: Path):
    (tmp_path / "params.yaml").symlink_to(exact / "params.yaml")
    launched(2, "evaluate", exact, tmp_path)
    for path in WRITTEN["evaluate"].values():
        assert (tmp_path / path).read_bytes() == (exact / path).read_bytes()


def test_batch_norm_looks_at_the_pictures_of_all(tmp_path: Path):
    """Without parts: gradients by DDP, sums in another order, which `modern` soon amplifies."""
    calm = {"recipes__modern__optimizer": "sgd", "recipes__modern__learning_rate": 0.01}
    folder = made_data(tmp_path, train__epochs=1, render__epochs=["last"], **calm)
    run_stage("train", folder)
    launched(2, "train", folder, tmp_path / "two")
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(folder), rtol=1e-5)
    (name,) = weights(folder)
    alone, together = weights(folder)[name], weights(tmp_path / "two")[name]
    for key in ("inc.1.running_var", "down4.1.1.running_var"):  # means follow biases, which drift
        torch.testing.assert_close(together[key], alone[key], rtol=1e-3, atol=0)


def test_what_fails_in_one_is_told_once(tmp_path: Path):
    folder = made_data(tmp_path)
    mask = next((folder / "data/cache/masks").glob("*.npy"))
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
