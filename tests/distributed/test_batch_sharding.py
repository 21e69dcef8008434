"""Sharding of batches and devices, and errors of the launcher."""

import signal
from types import SimpleNamespace

import pytest
import torch

from roadseg.runtime.accelerator import require_device_per_process
from roadseg.runtime.distributed import PEER_LOST, ProcessGroup
from roadseg.system.errors import InputError
from stages import launch


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 16])
def test_each_image_of_a_batch_is_in_exactly_one_shard(size: int, count: int):
    shards = [list(range(count)[ProcessGroup(rank, size).shard(count)]) for rank in range(size)]
    assert [index for shard in shards for index in shard] == list(range(count))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_more_processes_than_devices_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for count, device in ((64, "cpu"), (2, "cuda"), (2, "auto")):
        require_device_per_process(count, device)
    with pytest.raises(InputError, match="3 is more than the 2 CUDA devices of this computer"):
        require_device_per_process(3, "cuda")
    with pytest.raises(InputError, match=r"2 processes cannot share train.device cuda:0"):
        require_device_per_process(2, "cuda:0")


def make_failures(*codes: int) -> dict[int, SimpleNamespace]:
    return {rank: SimpleNamespace(exitcode=code, pid=rank) for rank, code in enumerate(codes)}


@pytest.mark.parametrize(
    ("codes", "code"), [((PEER_LOST, 1), 1), ((1, -signal.SIGTERM), 1), ((130, PEER_LOST), 130)]
)
def test_launcher_exits_with_the_code_of_the_process_that_reported_an_error(
    codes: tuple[int, ...], code: int
):
    with pytest.raises(SystemExit) as exit_info:
        launch._exit_with_failure(make_failures(*codes), "stages.train")
    assert exit_info.value.code == code


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ((130, -signal.SIGKILL), "process 1 (pid 1) was killed by SIGKILL"),
        ((PEER_LOST, -signal.SIGKILL), "process 1 (pid 1) was killed by SIGKILL"),
        ((-signal.SIGTERM, -signal.SIGSEGV), "process 1 (pid 1) was killed by SIGSEGV"),
        ((PEER_LOST, PEER_LOST), "a process on another computer exited"),
    ],
)
def test_launcher_reports_a_killed_process(codes: tuple[int, ...], message: str):
    with pytest.raises(InputError) as error:
        launch._exit_with_failure(make_failures(*codes), "stages.train")
    assert message in str(error.value)
