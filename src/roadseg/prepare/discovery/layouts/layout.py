"""Find the layout of a dataset: the file patterns of its images and masks, and its splits."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.layouts.choice import Choice, choose_patterns
from roadseg.prepare.discovery.layouts.matching import DatasetMatch, match_files
from roadseg.prepare.discovery.layouts.names import File, count_by_folder, parse_name
from roadseg.prepare.discovery.layouts.patterns import Patterns, guess_test_images
from roadseg.prepare.discovery.layouts.probes import MaskKind, Prober
from roadseg.prepare.discovery.layouts.splits import find_splits, find_val_ids, suggest_group_by
from roadseg.prepare.images.decoding import MAX_PIXELS
from roadseg.system.errors import InputError, escape_unprintable


class Pair(NamedTuple):
    """An image with its mask; both names are keys of `DatasetFiles.read`."""

    image_id: str
    """As the pipeline forms it from the patterns."""
    image: str
    mask: str
    """A mask, or the annotation file that describes the image; many images may share one."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything that the names of the files tell about a dataset."""

    images: str
    """data.images: pattern of the images with masks."""
    masks: str
    """data.masks: pattern of the masks or annotation files."""
    test_images: str | None
    """data.test_images: pattern of the images that are only rendered."""
    unmasked: Literal["error", "skip"]
    """data.unmasked: skip if `images` matches images without a mask."""
    val_ids: str | tuple[str, ...] | None
    """split.val_ids: a regular expression, the ids themselves, or None without predefined split."""
    group_by: str | None
    """split.group_by: a regular expression with one group; None with a predefined split."""
    kind: MaskKind
    """Content of the masks: label ids, colors, or the format of the annotation files."""
    pairs: tuple[Pair, ...]
    """The images with masks, sorted by id."""
    test_names: tuple[str, ...]
    """The files that `test_images` matches, sorted."""
    notes: tuple[str, ...]
    """Sentences for the user; those that begin with `unsure: ` need a decision or a look."""


def discover_layout(
    files: DatasetFiles,
    *,
    images: str | None = None,
    masks: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Layout:
    """Find the images and masks among `files`, and how they are paired and split.

    Args:
        images, masks: patterns that the user knows; None: they are found.
        max_pixels: larger images are not looked into.

    Raises:
        InputError: says what was found, what is missing and which option supplies it.
    """
    parsed = _parse_names(files.names, images or masks)
    prober = Prober(files, max_pixels)
    choice = choose_patterns(parsed, files, prober, images, masks)
    patterns, matched = _match(parsed, choice)
    pairs, ids = matched.masks, matched.ids
    if not pairs:
        found = [file.path for file in (*matched.unmasked[:1], *matched.unused_masks[:1])]
        such = f" ({' and '.join(found)} have different fields)" if len(found) > 1 else ""
        raise InputError(
            f"{patterns.images} and {patterns.masks} match no image with its mask{such}; name the "
            "patterns with --images and --masks"
        )
    splits = find_splits(pairs.items(), choice.described is not None)
    val_ids, split_notes = find_val_ids(files, parsed, ids, splits)
    notes = (*choice.notes, *_count_notes(matched, choice), *split_notes)
    return Layout(
        images=patterns.images,
        masks=patterns.masks,
        test_images=patterns.test_images,
        unmasked="skip" if matched.unmasked else "error",
        val_ids=val_ids,
        group_by=None if val_ids else suggest_group_by(ids.values()),
        kind=choice.kind,
        pairs=tuple(sorted(Pair(ids[image], image.name, pairs[image].name) for image in pairs)),
        test_names=tuple(sorted(image.name for image in matched.test_images)),
        notes=tuple(map(escape_unprintable, notes)),
    )


def _parse_names(names: Sequence[str], given: str | None) -> list[File]:
    """Split names in parts, without a directory around everything that is in no pattern."""
    top = f"{names[0].partition('/')[0]}/" if names else ""
    is_around = all(name.startswith(top) for name in names)
    is_given = given is not None and given.startswith(top)
    return [parse_name(name, top if is_around and not is_given else "") for name in names]


def _match(files: Sequence[File], choice: Choice) -> tuple[Patterns, DatasetMatch]:
    """Match the chosen patterns, with test images that are not next to the other images."""
    patterns = choice.patterns
    matched = match_files(files, patterns, choice.described)
    others = [file for file in matched.others if file not in choice.masks]
    if patterns.test_images is None and (test_images := guess_test_images(others)):
        patterns = replace(patterns, test_images=test_images)
        matched = match_files(files, patterns, choice.described)
    return patterns, matched


def _find_copies(images: Collection[File]) -> tuple[File, File] | None:
    """Return two images of one name in two formats, if most images are such."""
    names: dict[str, dict[str, File]] = defaultdict(dict)
    for image in images:
        names[image.stem][image.suffix] = image
    copies = [list(found.values()) for found in names.values() if len(found) > 1]
    return (copies[0][0], copies[0][1]) if 4 * len(copies) > len(images) else None


def _count_notes(matched: DatasetMatch, choice: Choice) -> Iterator[str]:
    if matched.unmasked:
        total = len(matched.masks) + len(matched.unmasked)
        yield (
            f"{len(matched.unmasked):,} of {total:,} images have no mask and are skipped, such as "
            f"{matched.unmasked[0].path} (data.unmasked)"
        )
    if matched.unused_masks:
        yield (
            f"unsure: masks without an image stop fetch ({len(matched.unused_masks):,}, such as "
            f"{matched.unused_masks[0].path}); remove them, or add their images"
        )
    if copies := _find_copies(matched.masks):
        yield (
            f"unsure: {copies[0].path} and {copies[1].path} may be the same image in two formats; "
            "if so, choose one of them with --images, or copies of training images are validated"
        )
    others = [file for file in matched.others if file not in choice.masks]
    if others:
        yield f"unsure: images in these directories are not used: {count_by_folder(others)}"
