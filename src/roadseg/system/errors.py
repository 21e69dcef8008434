"""One-line error messages for users, and text that is safe to print on a terminal."""

_LONGEST_LINE = 600
"""Maximum length of an error message, characters."""


class InputError(Exception):
    """Invalid input: a one-line message with the file or key, the problem and the fix.

    Commands print it and exit with 1. Any other exception is a bug and has a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def missing_package(package: str, extra: str) -> InputError:
    """Create the error for a package of the optional dependencies `extra` that is not installed."""
    pinned = "" if extra == "pipeline" else f"-{extra}"
    return InputError(
        f'the package {package} is not installed; run: pip install "roadseg[{extra}]", or in the '
        f"repository: pip install -r requirements{pinned}.txt -c constraints.txt"
    )


def escape_unprintable(text: str) -> str:
    """Escape control characters, with which a text could hide or fake output on a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Escape control characters and shorten a long text to its beginning and end."""
    shown = escape_unprintable(text)
    half = _LONGEST_LINE // 2
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[:half]} ... {shown[-half:]}"
