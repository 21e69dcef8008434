"""Command-line helpers: path options, one-line errors, exit codes and signals."""

import argparse
import contextlib
import errno
import io
import logging
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
    errno.EEXIST: "it is not a directory; remove or rename it",
    errno.ENOTDIR: "part of the path is a file; remove or rename it",
    errno.EISDIR: "a file is expected here; remove or rename it",
}
"""Advice for errors of the operating system whose own text is not enough."""

CLOSE_PROGRAMS = "close other programs"
"""Advice for commands that have no option to use less memory."""
INTERRUPTED = 130
"""Exit code after an interrupt; with 0, DVC would record incomplete outputs."""
_POLL_S = 0.2


def parse_paths(argv: Sequence[str] | None, doc: str | None, *names: str) -> argparse.Namespace:
    """Parse a stage's command line: one required path option for each of `names`."""
    parser = argparse.ArgumentParser(description=doc)
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    return parser.parse_args(argv)


def run_main(main: Callable[[], None], less_memory: str = CLOSE_PROGRAMS) -> None:
    """Run a command for the shell: exit 0, 1 with one line of error, or 130 when interrupted.

    A stage ends when the DVC or torchrun process that started it ends; otherwise it would write at
    the same time as the stage of the next `dvc repro`. Process-wide settings are made here and not
    at import time.

    Args:
        less_memory: advice in the error message when memory runs out.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # escape what its encoding lacks, as stderr does
        sys.stdout.reconfigure(errors="backslashreplace")
    # Pillow warns about damaged images; images that cannot be read raise an InputError instead
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # tqdm's monitor thread prints a warning if there is too little memory to start it
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
        # disk full, no permission and the like are not bugs: no traceback
        advice = _ADVICE.get(error.errno or 0)
        reason = "; ".join(filter(None, [error.strerror or str(error), advice]))
        sys.exit(one_line(f"error: {error.filename or os.getcwd()}: {reason}"))


def _end_with_parent(parent_pid: int) -> None:
    """Send SIGTERM to this process when its parent process has ended (its parent id changes).

    If the parent was killed before this thread started, the stage runs to its end; locks and
    atomic writes keep its outputs consistent.
    """
    while os.getppid() == parent_pid:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
