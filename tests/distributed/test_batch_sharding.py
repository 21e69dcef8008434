"""How processes share a batch and devices, and what the launcher reports when they fail."""

import signal
from types import SimpleNamespace

import pytest

from roadseg.runtime.accelerator import require_device_per_process
from roadseg.runtime.distributed import PEER_LOST, ProcessGroup
from roadseg.system.errors import InputError
from stages import launch


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 16])
def test_each_picture_of_a_batch_is_somebodys_once(size: int, count: int):
    shares = [list(range(count)[ProcessGroup(rank, size).shard(count)]) for rank in range(size)]
    assert [picture for share in shares for picture in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_processes_that_cannot_share_a_device_are_refused():
    require_device_per_process(64, "cpu")
    with pytest.raises(InputError, match="this computer has 0 CUDA devices"):
        require_device_per_process(2, "cuda:0")


def failed(*codes: int) -> dict[int, SimpleNamespace]:
    return {rank: SimpleNamespace(exitcode=code, pid=rank) for rank, code in enumerate(codes)}


@pytest.mark.parametrize(
    ("codes", "code"), [((PEER_LOST, 1), 1), ((1, -signal.SIGTERM), 1), ((130, PEER_LOST), 130)]
)
def test_the_launcher_ends_as_the_first_did_that_said_why(codes: tuple[int, ...], code: int):
    with pytest.raises(SystemExit) as ended:
        launch._tell(failed(*codes), "stages.train")
    assert ended.value.code == code


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ((130, -signal.SIGKILL), "process 1 (pid 1) was killed by SIGKILL"),
        ((PEER_LOST, -signal.SIGKILL), "process 1 (pid 1) was killed by SIGKILL"),
        ((-signal.SIGTERM, -signal.SIGSEGV), "process 1 (pid 1) was killed by SIGSEGV"),
        ((PEER_LOST, PEER_LOST), "a process on another computer has ended"),
    ],
)
def test_what_could_not_say_why_is_told(codes: tuple[int, ...], told: str):
    with pytest.raises(InputError) as error:
        launch._tell(failed(*codes), "stages.train")
    assert told in str(error.value)
