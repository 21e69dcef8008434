"""Find the images and masks of a dataset by their names, and choose their ids and places.

`roadseg.config.file_pattern` describes the syntax of the patterns.
"""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from roadseg.config.file_pattern import ANNOTATION_SUFFIXES, FilePattern, join_id
from roadseg.prepare.fetch.folder import find_files, is_ignored
from roadseg.prepare.layout import FOLDERS, TEST_IMAGES, TEST_MASKS, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.system.errors import InputError

ANNOTATIONS = "annotations"
"""Directory of the annotation files until they are converted to one file per image."""
_SUFFIX_SPELLINGS = {".jpeg": ".jpg", ".tiff": ".tif"}
_SAME_IMAGE = (".png", ".jpg", ".jpeg")
"""Suffixes of files of which only one may have an id, even if the pattern has only one of them."""
_REPORTED = (
    # suffixes of images; only some of these formats are read
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic"),
    *(".heif", ".avif", ".jp2", ".ppm", ".pgm", ".exr"),
)
_LONGEST_NAME = 255
"""Longest name of a file in usual file systems, characters."""


@dataclass(frozen=True)
class MatchedFiles:
    """The files of a dataset among the names in its directory or archive."""

    places: dict[str, str]
    """Name -> path in KITTI's layout, or in ANNOTATIONS; sorted by path."""
    annotations: dict[str, list[str]]
    """Name of each annotation file -> names of the images that it may describe."""
    num_unmasked: int
    """Number of images that are left out because they have no mask."""

    @property
    def folders(self) -> list[str]:
        """Directories of the places, and those of KITTI's layout; sorted."""
        return sorted({*FOLDERS, *(str(PurePosixPath(p).parent) for p in self.places.values())})


class _File(NamedTuple):
    name: str
    kind: str
    """Directory of KITTI's layout."""
    values: dict[str, str]
    """The fields of the pattern."""
    image_id: str
    """Empty for an annotation file that may describe many images."""


@dataclass(frozen=True, kw_only=True)
class FilePatterns:
    """Patterns of paths relative to the directory of a dataset, or to the root of its archive."""

    images: str
    """Images with masks."""
    masks: str
    """Masks or annotation files."""
    test_images: str | None
    """Images of the test set, or images that are only rendered; None if there are none."""
    test_masks: str | None = None
    """Masks or annotation files of the test images; None if they have none."""
    skip_unmasked: bool = False
    """Leave out images that match `images` but have no mask; otherwise they are an error."""

    def by_folder(self) -> dict[str, str]:
        """Return the patterns by directory of KITTI's layout."""
        patterns = {
            TRAIN_IMAGES: self.images,
            TRAIN_MASKS: self.masks,
            TEST_IMAGES: self.test_images,
            TEST_MASKS: self.test_masks,
        }
        return {kind: pattern for kind, pattern in patterns.items() if pattern is not None}

    def match(self, names: Iterable[str]) -> MatchedFiles:
        """Find the files of the dataset, and their places: FOLDER/ID and a suffix.

        A place consists of a known directory and an id without separators, so it cannot lead out of
        the dataset. There may be one more directory around everything than in the patterns. Hidden
        files, those that macOS adds to archives and companions of masks (a_color.png next to a.png,
        without an image a_color) are skipped. A name that matches two
        patterns belongs to the one with more literal characters.

        Args:
            names: relative paths with slashes.

        Raises:
            InputError: two files have the same id, an image lies where a pattern expects one but
                does not match it, an annotation file has no image, or no file matches.
        """
        names = [name for name in names if not is_ignored(name)]
        patterns = self._parse()
        top = _top_folder(names, list(patterns.values()))
        found: dict[str, _File] = {}
        others: list[str] = []
        for name in names:
            if not name.startswith(top):
                continue
            if (file := _match(name, top, patterns)) is None:
                others.append(name)
                continue
            first = found.setdefault(_key(file.kind, file.image_id or name), file)
            if first is not file:
                raise InputError(_repeated_id(first.name, name, file.image_id))
        if not found:
            raise InputError(f"no file matches {' or '.join(self.by_folder().values())}")
        for kind in patterns:
            _require_no_unmatched_image(kind, patterns, top, others, found)
        return self._place(found.values())

    def _parse(self) -> dict[str, FilePattern]:
        return {kind: FilePattern(text) for kind, text in self.by_folder().items()}

    def _place(self, files: Collection[_File]) -> MatchedFiles:
        """Choose the places of the files; leave out images without a mask."""
        images = {file.image_id: file for file in files if file.kind == TRAIN_IMAGES}
        masks = {file.image_id: file for file in files if file.kind == TRAIN_MASKS}
        companions = {
            image_id for image_id in masks.keys() - images.keys() if _is_companion(image_id, masks)
        }
        shared = sorted(file.name for file in files if not file.image_id)
        can_skip = self.skip_unmasked and masks and not shared
        unmasked = images.keys() - masks.keys() if can_skip else set()
        stems = {name: str(number) for number, name in enumerate(shared)}
        places = {
            file.name: _place(file.name, file.kind, file.image_id or stems[file.name])
            for file in files
            if file.image_id not in (unmasked if file.kind == TRAIN_IMAGES else companions)
        }
        annotations = {
            **self._described_images(TRAIN_MASKS, TRAIN_IMAGES, files, places),
            **self._described_images(TEST_MASKS, TEST_IMAGES, files, places),
        }
        in_order = dict(sorted(places.items(), key=lambda item: item[1]))
        return MatchedFiles(in_order, annotations, len(unmasked))

    def _described_images(
        self, kind: str, image_kind: str, files: Collection[_File], places: Mapping[str, str]
    ) -> dict[str, list[str]]:
        """Map each annotation file to the images whose fields have the same values."""
        start = f"{annotation_folder(kind)}/"
        annotations = [file for file in files if places.get(file.name, "").startswith(start)]
        images = [file for file in files if file.kind == image_kind]
        fields = sorted(next(iter(annotations)).values) if annotations else []
        by_values: dict[tuple[str, ...], list[str]] = {}
        for image in images:
            by_values.setdefault(tuple(image.values[f] for f in fields), []).append(image.name)
        described = {}
        for file in sorted(annotations):
            names = by_values.get(tuple(file.values[f] for f in fields))
            if names is None:
                raise InputError(f"{file.name} has no image in {self.by_folder()[image_kind]}")
            described[file.name] = sorted(names)
        return described

    def require_masks(self, unmasked: Iterable[str], pattern: str | None = None) -> None:
        """Raise InputError about images without a mask, unless they are to be skipped.

        Args:
            pattern: of their masks; None: `masks`.
        """
        names = sorted(unmasked)
        if names and not self.skip_unmasked:
            also = f", and {len(names) - 1:,} more images have none" if len(names) > 1 else ""
            raise InputError(
                f"{names[0]} has no mask in {pattern or self.masks}{also}; add what is missing, or "
                "set data.unmasked to skip to leave such images out"
            )

    def files(self, root: Path) -> list[str]:
        """List the files below `root` that may belong to the dataset, relative to `root`."""
        return find_files(root, [pattern.levels for pattern in self._parse().values()])


def annotation_folder(kind: str) -> str:
    """Return the directory of the annotation files whose shapes belong to the directory `kind`."""
    return f"{ANNOTATIONS}/{kind}"


KITTI = FilePatterns(
    images=f"{TRAIN_IMAGES}/{{id}}.png",
    masks=f"{TRAIN_MASKS}/{{id}}.png",
    test_images=f"{TEST_IMAGES}/{{id}}.png",
)


def _top_folder(names: Iterable[str], patterns: Sequence[FilePattern]) -> str:
    """Return the directory around the dataset with a trailing slash, empty if there is none."""
    tops = set()
    for name in names:
        top, _, rest = name.partition("/")
        if any(pattern.match(name) for pattern in patterns):
            return ""
        if any(pattern.match(rest) for pattern in patterns):
            tops.add(f"{top}/")
    if len(tops) > 1:
        first, second, *_ = sorted(tops)
        raise InputError(f"{first} and {second} both contain a dataset; keep only one of them")
    return tops.pop() if tops else ""


def _match(name: str, top: str, patterns: Mapping[str, FilePattern]) -> _File | None:
    """Find the pattern that `name` matches with most literal characters."""
    matches = [
        (found.num_literal, kind, found.values)
        for kind, pattern in patterns.items()
        if (found := pattern.match(name[len(top) :]))
    ]
    if not matches:
        return None
    most = max(num_literal for num_literal, *_ in matches)
    best = [(kind, values) for num_literal, kind, values in matches if num_literal == most]
    if len(best) > 1:
        first, second = (patterns[kind].text for kind, _ in best[:2])
        raise InputError(f"{name} matches both {first} and {second}; make one of them longer")
    kind, values = best[0]
    fields = _id_fields(kind, patterns)
    is_shared = values.keys() != set(fields)
    return _File(name, kind, values, "" if is_shared else join_id(values, fields))


def _id_fields(kind: str, patterns: Mapping[str, FilePattern]) -> tuple[str, ...]:
    return patterns[TEST_IMAGES if kind in (TEST_IMAGES, TEST_MASKS) else TRAIN_IMAGES].fields


def _is_companion(image_id: str, ids: Container[str]) -> bool:
    """Check whether an id extends another one by a separator and a word, as a_color does a.

    It may not be extended by a number: if a is there, a_2 is another image.
    """
    ends = range(1, min(len(image_id) - 1, _LONGEST_NAME))
    return any(
        not image_id[end].isalnum() and image_id[end + 1].isalpha() and image_id[:end] in ids
        for end in ends
    )


def _require_no_unmatched_image(
    kind: str,
    patterns: Mapping[str, FilePattern],
    top: str,
    names: Iterable[str],
    found: Mapping[str, _File],
) -> None:
    """Raise InputError if `names` has an image that a pattern matches except for its suffix.

    Skipping it silently would lose data. A name that extends another image's id by a separator and
    more, such as a_colors.png next to a.png, is a companion file and skipped.
    """
    pattern, fields = patterns[kind], _id_fields(kind, patterns)
    if set(pattern.suffixes) <= set(ANNOTATION_SUFFIXES):
        return
    for name in names:
        values, suffix = pattern.match_stem(name[len(top) :]) or ({}, "")
        if suffix in _REPORTED:
            image_id = join_id(values, fields)
            twin = found.get(_key(kind, image_id))
            if twin and suffix in _SAME_IMAGE:
                raise InputError(_repeated_id(twin.name, name, image_id))
            ends = range(1, min(len(image_id), _LONGEST_NAME))
            beginnings = (image_id[:end] for end in ends if not image_id[end].isalnum())
            if not twin and not any(_key(kind, text) in found for text in beginnings):
                raise InputError(f"{name!r} does not match {pattern.text}; rename or move it")


def _key(kind: str, image_id: str) -> str:
    """Return a key that is equal for names that some file systems take for the same file."""
    return f"{kind}/{image_id.casefold()}"


def _place(name: str, kind: str, stem: str) -> str:
    """Return the path of a file in KITTI's layout."""
    suffix = PurePosixPath(name).suffix.lower()
    folder = annotation_folder(kind) if suffix in ANNOTATION_SUFFIXES else kind
    return f"{folder}/{stem}{_SUFFIX_SPELLINGS.get(suffix, suffix)}"


def _repeated_id(first: str, second: str, image_id: str) -> str:
    if first == second:
        return f"{first} is in the archive twice"
    return f"{first} and {second} both have the id {image_id}; ids must differ"
