"""What every command line shares: paths as options, and errors as one line."""

import argparse
import contextlib
import errno
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from roadseg.system.errors import InputError, one_line
from roadseg.system.memory import is_out_of_memory

_MORE_FILES = "raise the limit of open files (ulimit -n)"
_ADVICE = {
    errno.ENOSPC: "make room, then run it again",
    errno.EDQUOT: "make room, then run it again",
    errno.EMFILE: _MORE_FILES,
    errno.ENFILE: _MORE_FILES,
    errno.EEXIST: "it stands where a folder is to be",
    errno.ENOTDIR: "a file stands where a folder is to be",
    errno.EISDIR: "a folder stands where a file is to be",
}
"""What to do about an error of the system, where its name does not tell."""

CLOSE_PROGRAMS = "close other programs"
"""Advice where a command has no option that lowers its memory."""
INTERRUPTED = 130
"""Exit code; 0 would let DVC record a part as the whole."""
_POLL_S = 0.2


def parse_paths(argv: Sequence[str] | None, doc: str | None, *names: str) -> argparse.Namespace:
    """The stage's paths, one required option for each of `names`, as Path attributes."""
    parser = argparse.ArgumentParser(description=doc)
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    return parser.parse_args(argv)


def run_main(main: Callable[[], None], less_memory: str = CLOSE_PROGRAMS) -> None:
    """Run a command for the shell: exit 0, 1 with one line of error, or 130 when interrupted.

    A stage ends with its DVC, or with the torchrun that has started it: one that lives on would
    write at the same time as the stage of the next `dvc repro`. What is set here for the whole
    process is a matter of the program, not of its modules.

    Args:
        less_memory: advice for the error when memory runs out.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Pillow warns of damage in images; an image that cannot be read is an error of our own
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    # the monitor thread of progress bars warns where memory is too short to start it
    tqdm.monitor_interval = 0
    if {"DVC_STAGE", "TORCHELASTIC_RUN_ID"} & os.environ.keys():
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if is_out_of_memory(error):
            sys.exit(f"error: out of memory; {less_memory}")
        if not isinstance(error, OSError):
            raise
        # disk full, no permission: the machine's fault, not ours
        reason = "; ".join(filter(None, [error.strerror or str(error), _ADVICE.get(error.errno)]))
        sys.exit(one_line(f"error: {error.filename or os.getcwd()}: {reason}"))


def _end_with_parent(parent_pid: int) -> None:
    """Interrupt this process when its parent has ended, after which it has another one.

    A parent that was killed earlier, during the imports of this process, goes unnoticed. The stage
    then runs to its end; its locks and atomic writes keep the outputs whole.
    """
    while os.getppid() == parent_pid:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
