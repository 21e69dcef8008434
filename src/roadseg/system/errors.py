"""The error that a user sees as a single line, and text that is safe on a terminal."""

_LONGEST_LINE = 600
"""Characters of an error."""


class InputError(Exception):
    """Something from outside is wrong: one line with the file, the value and what would be right.

    Stages print it and exit with 1; anything else that is raised is a fault of ours.
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


def printable(text: str) -> str:
    """`text` for a terminal: control characters, which could hide or fake some, are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """`printable` text; of a long one the beginning and the end."""
    shown = printable(text)
    half = _LONGEST_LINE // 2
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[:half]} ... {shown[-half:]}"
