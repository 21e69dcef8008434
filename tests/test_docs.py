"""Links in Markdown files, and the commands, parameters and paths that the documentation names."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from roadseg.commands.main import SUBCOMMANDS, VERSION
from roadseg.config.schema import read_yaml
from tests.factories import ROOT

LIST_FILES = ("git", "ls-files", "-co", "--exclude-standard", "*.md")
NAMES = subprocess.run(LIST_FILES, cwd=ROOT, capture_output=True, text=True, check=True).stdout
PAGES = [name for name in NAMES.splitlines() if (ROOT / name).is_file()]
GUIDES = [name for name in PAGES if re.match(r"docs/|(README|CONTRIBUTING|SECURITY)\.md$", name)]
PARAMS = read_yaml(ROOT / "params.yaml")
STAGES = list(read_yaml(ROOT / "dvc.yaml")["stages"])
MAKEFILES = "".join((ROOT / name).read_text() for name in ("Makefile", "development.mk"))
TARGETS = re.findall(r"^([a-z-]+):.*##", MAKEFILES, re.MULTILINE)
EXTERNAL = r"https?://[\w.-]+\.[a-z]+(/[\w./#?=&%~-]*)?"


def tokens(page: str) -> Iterator[Token]:
    for token in MarkdownIt().enable("table").parse((ROOT / page).read_text()):
        yield token
        yield from token.children or []


@cache
def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings of `page`."""
    found, seen = set(), Counter()
    in_heading = False
    for token in tokens(page):
        if in_heading:
            text = "".join(child.content for child in token.children or [])
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        in_heading = token.type == "heading_open"
    return found


def links(page: str) -> list[str]:
    attributes = [token.attrGet("href") or token.attrGet("src") for token in tokens(page)]
    return [str(link) for link in attributes if link]


def problem(page: str, link: str) -> str | None:
    """Return what is wrong with a link of `page`, or None."""
    if urlsplit(link).scheme:
        return None if re.fullmatch(EXTERNAL, link) else "not a valid URL"
    name, _, anchor = unquote(link).partition("#")
    target = (ROOT / page).parent / name if name else ROOT / page
    if not target.exists():
        return "no such file"
    path = target.resolve().relative_to(ROOT.resolve()).as_posix()
    return "no such heading" if anchor and anchor not in anchors(path) else None


def code(pages: list[str]) -> list[str]:
    """The code spans, and the lines of the code blocks without their comments."""
    found = [token for page in pages for token in tokens(page)]
    spans = [token.content for token in found if token.type == "code_inline"]
    blocks = "".join(token.content for token in found if token.type == "fence")
    return spans + [re.sub(r"(^|\s)#.*", "", line) for line in blocks.splitlines()]


CODE = code(GUIDES)


def named(pattern: str) -> list[str]:
    """The matches of `pattern` in the code of the documentation; there must be some."""
    found = [match for text in CODE for match in re.findall(pattern, text)]
    assert found
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str):
    assert [(link, problem(page, link)) for link in links(page) if problem(page, link)] == []


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("docs/README.md", None),
        ("docs/gone.md", "no such file"),
        ("docs/metrics.md#folds-and-groups", None),
        ("docs/metrics.md#folds", "no such heading"),
        ("#results", None),
        ("#outcome", "no such heading"),
        ("https://example.org/a#b", None),
        ("https:/example.org", "not a valid URL"),
    ],
)
def test_broken_links_are_found(link: str, expected: str | None):
    assert problem("README.md", link) == expected


def test_every_page_is_in_the_index():
    index = {Path(link.partition("#")[0]).name for link in links("docs/README.md")}
    assert {Path(page).name for page in GUIDES if page.startswith("docs/")} <= index | {"README.md"}


def test_make_targets_exist():
    assert set(named(r"^make ([a-z-]+)")) <= set(TARGETS)


def test_subcommands_exist():
    assert set(named(r"^roadseg ([a-z]+)")) == set(SUBCOMMANDS)


def test_stages_exist():
    reruns = named(r"dvc repro((?: -[-\w]+)*(?: [a-z]+)+)")
    words = {word for rerun in reruns for word in rerun.split() if not word.startswith("-")}
    assert words <= set(STAGES)
    for page in ("README.md", "docs/pipeline.md"):
        rows = re.findall(r"^\| `(\w+)` \|", (ROOT / page).read_text(), re.MULTILINE)
        assert [row for row in rows if row in STAGES] == STAGES


def test_parameters_exist():
    sections = "|".join(PARAMS)
    keys = named(r"-S '?([a-z_]+(?:\.[a-z_]+)+)=")
    keys += named(rf"^((?!data\.yaml)(?:{sections})\.[a-z_]+(?:\.[a-z_]+)*)(?::.*|=.*)?$")
    for key in keys:
        value = PARAMS
        for part in key.split("."):
            value = value[part]


def test_paths_and_modules_exist():
    for path in named(r"^(?:src|stages|tests|docs|benchmarks|\.ci|\.github)/[\w./-]+$"):
        assert (ROOT / path).exists(), path
    for path in named(r"^(?:[a-z_]+/)+[a-z_]+\.py$"):
        assert any((ROOT / root / path).is_file() for root in (".", "src/roadseg")), path
    for module in named(r"python -m ((?:roadseg|stages|tests|benchmarks)[\w.]*)"):
        path = module.replace(".", "/")
        found = [ROOT / root / path for root in (".", "src")]
        assert any(p.is_dir() or p.with_suffix(".py").is_file() for p in found), module


def test_version_and_date_agree_with_the_changelog():
    citation = read_yaml(ROOT / "CITATION.cff")
    releases = re.findall(r"^## (\d.*) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == (citation["version"], str(citation["date-released"]))
    assert citation["version"] == VERSION
