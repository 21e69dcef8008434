"""How a data set names its files: which is a picture, which its mask, and what their id is.

In a pattern, {id} stands for a picture's id and * for anything, both within one folder's or file's
name: `leftImg8bit/train/*/{id}_leftImg8bit.png`.
"""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from src.data.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from src.files import InputError

_PART = r"[^/\\:\x00-\x1f\ud800-\udfff]"  # no separators, control characters, undecodable bytes
_TOKENS = re.compile(r"(\{id\}|\*)")


@dataclass(frozen=True, kw_only=True)
class Naming:
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

        Args:
            names: relative, with slashes.

        Returns:
            name -> place, sorted by place.

        Raises:
            InputError: two files that would have one id, or no file at all.
        """
        expressions = {kind: _expression(pattern) for kind, pattern in self.patterns().items()}
        origins: dict[str, str] = {}
        taken: dict[str, str] = {}
        placed: dict[str, str] = {}
        for name in names:
            for kind, expression in expressions.items():
                if found := expression.fullmatch(name):
                    picture = f"{kind}/{found['id']}"
                    if picture in taken:
                        raise InputError(_twice(taken[picture], name, found["id"]))
                    if name in placed:
                        raise InputError(
                            f"{name} fits more than one pattern: of {placed[name]}, {kind}"
                        )
                    taken[picture] = name
                    placed[name] = kind
                    origins[picture + _ending(name)] = name
        if not origins:
            raise InputError(f"no file is named {' or '.join(self.patterns().values())}")
        return {origins[place]: place for place in sorted(origins)}

    def files(self, root: Path) -> list[str]:
        """Names of the files below `root` that may belong to the data set."""
        found = set()
        for pattern in self.patterns().values():
            parts = _TOKENS.split(pattern)
            shell = "".join("*" if _TOKENS.fullmatch(part) else glob.escape(part) for part in parts)
            shell = re.sub(r"\*+", "*", shell)
            found |= {path for path in root.glob(shell) if path.is_file()}
        return sorted(path.relative_to(root).as_posix() for path in found)


KITTI = Naming(
    images=f"{TRAIN_IMAGES}/{{id}}.png",
    masks=f"{TRAIN_MASKS}/{{id}}.png",
    test_images=f"{TEST_IMAGES}/{{id}}.png",
)


def _expression(pattern: str) -> re.Pattern[str]:
    written = {"{id}": f"(?P<id>{_PART}+)", "*": f"{_PART}*"}
    parts = (written.get(part, re.escape(part)) for part in _TOKENS.split(pattern))
    return re.compile("".join(parts))


def _ending(name: str) -> str:
    """.png or .jpg."""
    ending = PurePosixPath(name).suffix.lower()
    return ".jpg" if ending == ".jpeg" else ending


def _twice(first: str, second: str, picture_id: str) -> str:
    if first == second:
        return f"{first} stands in the archive twice"
    return f"{first} and {second} both have the id {picture_id}; ids must differ"
