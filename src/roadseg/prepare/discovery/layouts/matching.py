"""Match the files of a dataset with patterns as fetch does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from roadseg.config.file_pattern import (
    IMAGE_SUFFIXES,
    FilePattern,
    image_pattern,
    mask_pattern,
    require_same_fields,
)
from roadseg.prepare.discovery.layouts.names import File
from roadseg.prepare.discovery.layouts.patterns import Patterns
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.system.errors import InputError


@dataclass(frozen=True)
class DatasetMatch:
    """The files of a dataset by the pattern that they match."""

    ids: dict[File, str]
    """Id of each image with a mask."""
    masks: dict[File, File]
    """Mask or annotation file of each image with a mask."""
    unmasked: list[File]
    """Images that match, but have no mask."""
    test_images: list[File]
    unused_masks: list[File]
    """Masks without an image."""
    others: list[File]
    """Image files that no pattern matches."""


def match_files(
    files: Sequence[File], patterns: Patterns, described: Mapping[File, File] | None = None
) -> DatasetMatch:
    """Match files with patterns.

    Args:
        described: images -> the shared annotation file that describes them; None if masks are not
            shared, or if a file describes all images that match its pattern.

    Raises:
        InputError: the patterns match no file, the same id twice, or nearly match an image.
    """
    expression = _check(patterns)
    by_name = {file.name: file for file in files}
    matched = FilePatterns(
        images=patterns.images,
        masks=patterns.masks,
        test_images=patterns.test_images,
        skip_unmasked=True,
    ).match(by_name)
    found: dict[str, dict[str, File]] = {TRAIN_IMAGES: {}, TRAIN_MASKS: {}, TEST_IMAGES: {}}
    for name, place in matched.places.items():
        folder, _, last = place.rpartition("/")
        found.setdefault(folder, {})[last.rpartition(".")[0]] = by_name[name]
    images, masks = found[TRAIN_IMAGES], found[TRAIN_MASKS]
    pairs = {file: masks[image_id] for image_id, file in images.items() if image_id in masks}
    for mask, names in matched.annotations.items():
        for image in map(by_name.__getitem__, names):
            if described is None or described.get(image) == by_name[mask]:
                pairs[image] = by_name[mask]
    rest = [f for f in files if f.suffix in IMAGE_SUFFIXES and f.name not in matched.places]
    unmasked = [file for file in images.values() if file not in pairs]
    return DatasetMatch(
        ids={file: image_id for image_id, file in images.items() if file in pairs},
        masks=pairs,
        unmasked=unmasked + [file for file in rest if expression.match(file.path)],
        test_images=list(found[TEST_IMAGES].values()),
        unused_masks=[masks[image_id] for image_id in sorted(masks.keys() - images.keys())],
        others=[file for file in rest if not expression.match(file.path)],
    )


def _check(patterns: Patterns) -> FilePattern:
    """Raise InputError if params.yaml may not have `patterns`; return that of the images."""
    images = parse_pattern("images", image_pattern, patterns.images)
    masks = parse_pattern("masks", mask_pattern, patterns.masks)
    if patterns.test_images is not None:
        parse_pattern("test-images", image_pattern, patterns.test_images)
    try:
        require_same_fields(images, masks)
    except ValueError as error:
        raise InputError(f"--masks: {error}, got {patterns.masks!r}") from None
    return images


def parse_pattern(option: str, parse: Callable[[str], FilePattern], text: str) -> FilePattern:
    """Parse the pattern that `option` of the command gives.

    Raises:
        InputError: the pattern is invalid.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(f"--{option}: {error}, got {text!r}") from None
