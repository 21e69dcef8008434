"""Patterns of file names that find the images and masks of a dataset, and their ids.

In a pattern, {id} is the id of an image, * is anything and {a,b} are alternatives, each within the
name of one directory or file: `leftImg8bit/{train,val}/*/{id}_leftImg8bit.png`.
"""

import glob
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roadseg.prepare.layout import IMAGE_SUFFIXES, TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.system.errors import InputError

_PART = r"[^/\\:\x00-\x1f\ud800-\udfff]"  # no separators, control characters, undecodable bytes
_TOKENS = re.compile(r"(\{id\}|\*|\{[^{}/,]+(?:,[^{}/,]+)+\})")
_IMAGE_SUFFIXES = (
    # regular expressions; only PNG and JPEG are read, the others are reported
    *("png", "jpg", "jpeg", "jpe", "jfif", "webp", "tiff?", "bmp", "gif", "heic", "heif", "avif"),
    *("jp2", "ppm", "pgm", "exr"),
)


@dataclass(frozen=True, kw_only=True)
class FilePatterns:
    """Patterns of paths relative to the directory of a dataset, or to the root of its zip."""

    images: str
    """Images with masks, PNG or JPEG."""
    masks: str
    """Masks, PNG."""
    test_images: str | None
    """Images without masks; None if there are none."""

    def by_folder(self) -> dict[str, str]:
        """Return the patterns by directory of KITTI's layout."""
        patterns = {TRAIN_IMAGES: self.images, TRAIN_MASKS: self.masks}
        return patterns if self.test_images is None else {**patterns, TEST_IMAGES: self.test_images}

    def places(self, names: Iterable[str]) -> dict[str, str]:
        """Map each file of the dataset to its path in KITTI's layout, FOLDER/ID.png or .jpg.

        A path consists of a known directory and an id without separators, so it cannot lead out of
        the dataset. There may be one more directory around everything than in the patterns. Hidden
        files and the files that macOS adds to archives are skipped.

        Args:
            names: relative paths with slashes.

        Returns:
            name -> path in KITTI's layout, sorted by path.

        Raises:
            InputError: two files have the same id, an image lies where a pattern expects one but
                does not match it, or no file matches.
        """
        names = [name for name in names if not _is_hidden(name)]
        expressions = {kind: _compile(pattern) for kind, pattern in self.by_folder().items()}
        top = _top_folder(names, list(expressions.values()))
        taken: dict[str, str] = {}
        others: list[str] = []
        for name in names:
            kind, image_id = _match(name, top, expressions)
            if not image_id:
                if name.startswith(top):
                    others.append(name)
                continue
            key = _key(kind, image_id)
            if key in taken:
                raise InputError(_repeated_id(taken[key], name, image_id))
            taken[key] = name
        if not taken:
            raise InputError(f"no file matches {' or '.join(self.by_folder().values())}")
        for kind, pattern in self.by_folder().items():
            _require_no_unmatched_image(kind, pattern, top, others, taken)
        # matched a second time instead of holding the matches of a large dataset in memory
        matches = ((name, *_match(name, top, expressions)) for name in taken.values())
        placed = [(f"{kind}/{image_id}{_suffix(name)}", name) for name, kind, image_id in matches]
        del taken
        return {name: place for place, name in sorted(placed)}

    def files(self, root: Path) -> list[str]:
        """List the files below `root` that may belong to the dataset, relative to `root`."""
        for top in ("", "*/"):
            found: set[str] = set()
            for pattern in self.by_folder().values():
                for shell in _glob_patterns(f"{top}{pattern.rpartition('.')[0]}.*"):
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


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(_to_regex(pattern, f"(?P<id>{_PART}+)", f"{_PART}*"))


def _to_regex(pattern: str, image_id: str, anything: str) -> str:
    """Translate a pattern; `image_id` and `anything` replace {id} and *."""
    special = {"{id}": image_id, "*": anything}
    parts = _TOKENS.split(pattern)
    for place in range(1, len(parts), 2):
        alternatives = "|".join(map(re.escape, _alternatives(parts[place])))
        parts[place] = special.get(parts[place], f"(?:{alternatives})")
    parts[::2] = map(re.escape, parts[::2])
    return "".join(parts)


def _alternatives(token: str) -> list[str]:
    return token[1:-1].split(",")


def _glob_patterns(pattern: str) -> Iterator[str]:
    """Expand {a,b}, which `Path.glob` does not support, to one glob pattern for each choice."""
    choices = [
        ["*"]
        if part in ("{id}", "*")
        else [glob.escape(text) for text in (_alternatives(part) if place % 2 else [part])]
        for place, part in enumerate(_TOKENS.split(pattern))
    ]
    for chosen in itertools.product(*choices):
        yield re.sub(r"\*+", "*", "".join(chosen))


def _is_file(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: broken symbolic link; copy the file that it refers to")
    return path.is_file()


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(p.startswith(".") and p not in (".", "..") for p in parts)


def _top_folder(names: Iterable[str], expressions: Sequence[re.Pattern[str]]) -> str:
    """Return the directory around the dataset with a trailing slash, empty if there is none."""
    tops = set()
    for name in names:
        top, _, rest = name.partition("/")
        if any(expression.fullmatch(name) for expression in expressions):
            return ""
        if any(expression.fullmatch(rest) for expression in expressions):
            tops.add(f"{top}/")
    if len(tops) > 1:
        first, second, *_ = sorted(tops)
        raise InputError(f"{first} and {second} both contain a dataset; keep only one of them")
    return tops.pop() if tops else ""


def _match(name: str, top: str, expressions: Mapping[str, re.Pattern[str]]) -> tuple[str, str]:
    """Return directory and id of the pattern that `name` matches, or two empty strings."""
    kind, image_id = "", ""
    for other, expression in expressions.items() if name.startswith(top) else ():
        if found := expression.fullmatch(name[len(top) :]):
            if kind:
                raise InputError(f"{name} matches the patterns of both {kind} and {other}")
            kind, image_id = other, found["id"]
    return kind, image_id


def _require_no_unmatched_image(
    kind: str, pattern: str, top: str, names: Iterable[str], taken: Mapping[str, str]
) -> None:
    """Raise InputError if `names` has an image that `pattern` matches except for its suffix.

    Skipping it silently would lose data. A name that extends another image's id by a separator and
    more, such as a_colors.png next to a.png, is a companion file and skipped.
    """
    stem = _to_regex(pattern.rpartition(".")[0], "([^/]+)", "[^/]*")
    expression = re.compile(f"{stem}\\.({'|'.join(_IMAGE_SUFFIXES)})", re.IGNORECASE)
    for name in names:
        if found := expression.fullmatch(name[len(top) :]):
            image_id = found[1]
            twin = taken.get(_key(kind, image_id))
            if twin and _suffix(name) in IMAGE_SUFFIXES:
                raise InputError(_repeated_id(twin, name, image_id))
            ends = (end for end in range(1, len(image_id)) if not image_id[end].isalnum())
            if not twin and not any(_key(kind, image_id[:end]) in taken for end in ends):
                raise InputError(f"{name!r} does not match {pattern}; rename or move it")


def _key(kind: str, image_id: str) -> str:
    """Return a key that is equal for names that some file systems take for the same file."""
    return f"{kind}/{unicodedata.normalize('NFC', image_id).casefold()}"


def _suffix(name: str) -> str:
    """Return the suffix in lower case, .jpg for .jpeg."""
    suffix = PurePosixPath(name).suffix.lower()
    return ".jpg" if suffix == ".jpeg" else suffix


def _repeated_id(first: str, second: str, image_id: str) -> str:
    if first == second:
        return f"{first} is in the archive twice"
    return f"{first} and {second} both have the id {image_id}; ids must differ"
