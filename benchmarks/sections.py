"""A Markdown file whose sections are replaced one at a time."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from roadseg.provenance.source_code import ROOT


def replace_section(
    path: Path, introduction: str, order: Sequence[str], name: str, body: str
) -> None:
    """Replace the section `## name` of the file at `path` atomically; the other sections stay.

    Args:
        introduction: the text before the first section.
        order: names of all sections, letters and digits, in their order; others are removed.
        body: the text of the section, without a line that begins with "## ".
    """
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", old, re.MULTILINE | re.DOTALL))
    sections[name] = body
    parts = [f"## {title}\n\n{sections[title].strip()}\n" for title in order if title in sections]
    # not atomic_file, whose packages `make gpu` only checks for in its first part
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text("\n".join([introduction, *parts]), encoding="utf-8")
    temporary.replace(path)


def current_commit() -> str:
    """Describe the current commit; outside of a repository it is the environment's COMMIT."""
    command, found = ["git", "describe", "--always", "--dirty"], ""
    if shutil.which("git"):
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = result.stdout.strip()
    return found or os.environ.get("COMMIT", "unknown")
