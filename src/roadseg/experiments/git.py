"""Git commands."""

import subprocess
from pathlib import Path

from roadseg.system.errors import InputError


def run_git(*arguments: str, folder: Path | None = None) -> str:
    """Run Git in `folder` and return its output. Raises InputError with its message if it fails."""
    result = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, errors="replace"
    )
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["failed"])[-1]
        raise InputError(f"git {arguments[0]}: {reason}")
    return result.stdout.strip()
