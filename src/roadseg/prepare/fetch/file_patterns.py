"""How a data set names its files: which is a picture, which its mask, and what their id is.

In a pattern, {id} stands for a picture's id, * for anything and {a,b} for one of these texts, each
within one folder's or file's name: `leftImg8bit/{train,val}/*/{id}_leftImg8bit.png`.
"""

import glob
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roadseg.prepare.layout import ENDINGS, TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.system.errors import InputError

_PART = r"[^/\\:\x00-\x1f\ud800-\udfff]"  # no separators, control characters, undecodable bytes
_TOKENS = re.compile(r"(\{id\}|\*|\{[^{}/,]+(?:,[^{}/,]+)+\})")
_PICTURES = (
    # endings of pictures; only those of KITTI's layout are read
    *("png", "jpg", "jpeg", "jpe", "jfif", "webp", "tiff?", "bmp", "gif", "heic", "heif", "avif"),
    *("jp2", "ppm", "pgm", "exr"),
)


@dataclass(frozen=True, kw_only=True)
class FilePatterns:
    """Patterns of names relative to the data set's folder, or the root of its zip."""

    images: str
    """Pictures with masks; PNG or JPEG."""
    masks: str
    """PNG."""
    test_images: str | None
    """Pictures without masks; None if there are none."""

    def patterns(self) -> dict[str, str]:
        """By the folder of KITTI's layout to which they belong."""
        found = {TRAIN_IMAGES: self.images, TRAIN_MASKS: self.masks}
        return found if self.test_images is None else {**found, TEST_IMAGES: self.test_images}

    def places(self, names: Iterable[str]) -> dict[str, str]:
        """Where in KITTI's layout each file belongs, as FOLDER/ID.png or .jpg; others are left out.

        A place is made of a folder's name and an id without separators, so it never climbs out.
        All may lie in one folder more than the patterns say. Hidden files are left out, and those
        that macOS adds to archives.

        Args:
            names: relative, with slashes.

        Returns:
            name -> place, sorted by place.

        Raises:
            InputError: two files that would have one id, a picture where one is expected but under
                another name, or no file at all.
        """
        names = [name for name in names if not _is_hidden(name)]
        expressions = {kind: _expression(pattern) for kind, pattern in self.patterns().items()}
        top = _top_folder(names, list(expressions.values()))
        taken: dict[str, str] = {}
        others: list[str] = []
        for name in names:
            kind, found = _fitting(name, top, expressions)
            if found is None:
                if name.startswith(top):
                    others.append(name)
                continue
            picture = _key(kind, found["id"])
            if picture in taken:
                raise InputError(_twice(taken[picture], name, found["id"]))
            taken[picture] = name
        if not taken:
            raise InputError(f"no file is named {' or '.join(self.patterns().values())}")
        for kind, pattern in self.patterns().items():
            _require_no_other(kind, pattern, top, others, taken)
        # found once more, for a large set is not held in memory twice
        fitting = ((name, *_fitting(name, top, expressions)) for name in taken.values())
        placed = [(f"{kind}/{found['id']}{_ending(name)}", name) for name, kind, found in fitting]
        del taken
        return {name: place for place, name in sorted(placed)}

    def files(self, root: Path) -> list[str]:
        """Names of the files below `root` that may belong to the data set."""
        for top in ("", "*/"):
            found = set()
            for pattern in self.patterns().values():
                for shell in _shell_patterns(f"{top}{pattern.rpartition('.')[0]}.*"):
                    paths = filter(_is_file, root.glob(shell))
                    found |= {path.relative_to(root).as_posix() for path in paths}
            if found:
                break
        return sorted(found)


KITTI = FilePatterns(
    images=f"{TRAIN_IMAGES}/{{id}}.png",
    masks=f"{TRAIN_MASKS}/{{id}}.png",
    test_images=f"{TEST_IMAGES}/{{id}}.png",
)


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(_as_regular(pattern, f"(?P<id>{_PART}+)", f"{_PART}*"))


def _as_regular(pattern: str, picture_id: str, anything: str) -> str:
    written = {"{id}": picture_id, "*": anything}
    parts = _TOKENS.split(pattern)
    for place in range(1, len(parts), 2):
        either = "|".join(map(re.escape, _either(parts[place])))
        parts[place] = written.get(parts[place], f"(?:{either})")
    parts[::2] = map(re.escape, parts[::2])
    return "".join(parts)


def _either(token: str) -> list[str]:
    return token[1:-1].split(",")


def _shell_patterns(pattern: str) -> Iterator[str]:
    """For `Path.glob`, which knows no {a,b}: one for each choice."""
    parts = _TOKENS.split(pattern)
    choices = [
        ["*"] if part in ("{id}", "*") else map(glob.escape, _either(part) if place % 2 else [part])
        for place, part in enumerate(parts)
    ]
    for chosen in itertools.product(*choices):
        yield re.sub(r"\*+", "*", "".join(chosen))


def _is_file(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: a link to nothing; bring what it stands for")
    return path.is_file()


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(p.startswith(".") and p not in (".", "..") for p in parts)


def _top_folder(names: Iterable[str], expressions: Sequence[re.Pattern[str]]) -> str:
    """The folder round the layout, with its slash, or nothing."""
    tops = set()
    for name in names:
        top, _, rest = name.partition("/")
        if any(expression.fullmatch(name) for expression in expressions):
            return ""
        if any(expression.fullmatch(rest) for expression in expressions):
            tops.add(f"{top}/")
    if len(tops) > 1:
        first, second, *_ = sorted(tops)
        raise InputError(f"{first} and {second} both hold such a data set; give one of them")
    return tops.pop() if tops else ""


def _fitting(
    name: str, top: str, expressions: Mapping[str, re.Pattern[str]]
) -> tuple[str, re.Match[str] | None]:
    """The kind whose pattern `name` fits; raises InputError where it fits two of them."""
    fitting = ("", None)
    for kind, expression in expressions.items():
        if found := name.startswith(top) and expression.fullmatch(name[len(top) :]):
            if fitting[0]:
                raise InputError(f"{name} fits more than one pattern: of {fitting[0]}, {kind}")
            fitting = kind, found
    return fitting


def _require_no_other(
    kind: str, pattern: str, top: str, names: Iterable[str], taken: Mapping[str, str]
) -> None:
    """Raise where a picture lies where `pattern` looks, but is named otherwise.

    Left out in silence it would be missed. What is named by another picture's id, a sign and more,
    such as a_colors.png beside a.png, is a companion and not meant.
    """
    stem = pattern.rpartition(".")[0]
    meant = _as_regular(stem, "([^/]+)", "[^/]*")
    expression = re.compile(f"{meant}\\.({'|'.join(_PICTURES)})", re.IGNORECASE)
    for name in names:
        if found := expression.fullmatch(name[len(top) :]):
            own = found[1]
            is_readable = _ending(name) in ENDINGS
            twin = taken.get(_key(kind, own))
            if twin and is_readable:
                raise InputError(_twice(twin, name, own))
            signs = (end for end in range(1, len(own)) if not own[end].isalnum())
            if not twin and not any(_key(kind, own[:end]) in taken for end in signs):
                raise InputError(
                    f"{name!r} lies where {pattern} is looked for and is named otherwise; rename "
                    "it or move it away"
                )


def _key(kind: str, picture_id: str) -> str:
    """Equal where some file system takes two names for one: case and accents."""
    return f"{kind}/{unicodedata.normalize('NFC', picture_id).casefold()}"


def _ending(name: str) -> str:
    """.png or .jpg."""
    ending = PurePosixPath(name).suffix.lower()
    return ".jpg" if ending == ".jpeg" else ending


def _twice(first: str, second: str, picture_id: str) -> str:
    if first == second:
        return f"{first} stands in the archive twice"
    return f"{first} and {second} both have the id {picture_id}; ids must differ"
