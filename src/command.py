"""What every command line shares: paths as options, and errors as one line."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from src.files import InputError, one_line


def parsed_paths(argv: Sequence[str] | None, doc: str | None, *names: str) -> argparse.Namespace:
    """The stage's paths, one required option for each of `names`, as Path attributes."""
    parser = argparse.ArgumentParser(description=doc)
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    return parser.parse_args(argv)


def run(main: Callable[[], None]) -> None:
    """Run a command for the shell: exit 0, 1 with one line of error, or 130 when interrupted.

    An interrupted stage must not exit with 0, or DVC would record a part of it as the whole.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # disk full, no permission: the machine's fault, not ours
        sys.exit(one_line(f"error: {error.filename or os.getcwd()}: {error.strerror or error}"))
