"""What loader processes make, one thing after the other, and what can go wrong with these."""

import errno
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from roadseg.system.errors import InputError

Made = TypeVar("Made", bound=tuple)


def iterate_batches(
    make: Callable[[int], Made], count: int, num_workers: int, *, open_files: int, pin: bool
) -> Iterator[Made]:
    """What `make` gives for 0 to `count` - 1: tuples of tensors and None.

    Args:
        num_workers: loader processes, which start once; 0: made here.
        open_files: how many each may need.
        pin: in memory that a GPU copies from by itself.

    Raises:
        InputError: the limit of open files is lower.
    """
    if num_workers:
        _require_open_files(open_files)
    loader = DataLoader(
        _Numbered(make, count),
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_trainer,
        generator=torch.Generator(),  # else the loader draws from the generator of dropout
    )
    return _made(loader)


class _Numbered(Dataset):
    """What `make` gives by number; what failed, with its error instead.

    A loader process would hand its traceback on in the error's text, and lose the rest of it.
    """

    def __init__(self, make: Callable[[int], Made], count: int) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Made | Exception:
        try:
            made = self.make(number)
        except (InputError, OSError, MemoryError) as error:
            return error
        if get_worker_info() is not None:
            for part in made:
                if part is not None:  # torch would do it where an error is lost, and be waited for
                    part.share_memory_()
        return made


def _require_open_files(count: int) -> None:
    """Where a loader process has too few, its batches are lost, and would be waited for."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < count:
        raise InputError(
            f"train.num_workers: loader processes need {count} open files, the limit is {allowed}; "
            "raise it (ulimit -n), or set num_workers to 0"
        )


def _made(loader: DataLoader) -> Iterator[Made]:
    """What `loader` makes. Its processes end with it, or with an error here or of who takes it."""
    batches = _started(loader)
    try:
        for found in batches:
            if isinstance(found, Exception):
                raise found
            yield found
    finally:
        if loader.num_workers:  # torch would wait until no error refers to them any more
            batches._shutdown_workers()


def _started(loader: DataLoader) -> Iterator[Made | Exception]:
    """Its processes, started. Where one cannot be, none stays behind."""
    others = set(active_children())
    try:
        return iter(loader)
    except OSError as error:  # no room for its queues, too many open files, no more processes
        for process in set(active_children()) - others:
            process.kill()  # it ignores all else, and the end of this process would wait for it
        # torch looks at what was never made, and says so beside our line
        said, sys.unraisablehook = sys.unraisablehook, lambda _: None
        traceback.clear_frames(error.__traceback__)
        sys.unraisablehook = said
        if error.errno == errno.ENOSPC:
            error.filename = "/dev/shm"  # noqa: S108 - only named
        raise


def _leave_signals_to_the_trainer(_worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the trainer finishes its step, and needs us."""
    signal.set_wakeup_fd(-1)  # the trainer's own, inherited
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
