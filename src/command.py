"""What every command line shares: paths as options, and errors as one line."""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from src.files import InputError, one_line

INTERRUPTED = 130
"""Exit code; 0 would let DVC record a part as the whole."""
_STARTED_BY = os.getppid()
"""Noted before the slow imports."""
_POLL_S = 0.2


def parsed_paths(argv: Sequence[str] | None, doc: str | None, *names: str) -> argparse.Namespace:
    """The stage's paths, one required option for each of `names`, as Path attributes."""
    parser = argparse.ArgumentParser(description=doc)
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    return parser.parse_args(argv)


def run(main: Callable[[], None]) -> None:
    """Run a command for the shell: exit 0, 1 with one line of error, or 130 when interrupted.

    A stage ends with its DVC: one that lives on would write beside that of the next `dvc repro`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:  # disk full, no permission: the machine's fault, not ours
        sys.exit(one_line(f"error: {error.filename or os.getcwd()}: {error.strerror or error}"))


def _end_with_parent() -> None:
    while os.getppid() == _STARTED_BY:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
