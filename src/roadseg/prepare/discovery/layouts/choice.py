"""Choose among the ways to pair images with masks, or follow the patterns of the user."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from roadseg.config.file_pattern import IMAGE_SUFFIXES, FilePattern, image_pattern, mask_pattern
from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.layouts.matching import match_files, parse_pattern
from roadseg.prepare.discovery.layouts.names import File, count_by_folder, spread
from roadseg.prepare.discovery.layouts.pairing import Candidate, choose, find_candidates
from roadseg.prepare.discovery.layouts.patterns import Patterns, build_patterns, derive_pattern
from roadseg.prepare.discovery.layouts.probes import MaskKind, Prober
from roadseg.prepare.discovery.layouts.shared_annotations import find_shared_annotations
from roadseg.system.errors import InputError

_NUM_EXAMPLES = 4
_NUM_SHOWN = 3
"""Suffixes or patterns that a message lists."""
_Given = tuple[FilePattern | None, FilePattern | None]
"""The user's patterns of images and masks."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The patterns of a dataset, and the content of its masks."""

    patterns: Patterns
    kind: MaskKind
    described: Mapping[File, File] | None = None
    """Images -> the shared annotation file that describes them; None if masks are not shared."""
    masks: frozenset[File] = frozenset()
    """All masks, also those of test images, and those that could be used instead."""
    notes: tuple[str, ...] = ()


def choose_patterns(
    files: Sequence[File],
    dataset: DatasetFiles,
    prober: Prober,
    images: str | None,
    masks: str | None,
) -> Choice:
    """Return the most plausible patterns, or those of `images` and `masks` that the user gives.

    Raises:
        InputError: there are no images or no masks.
    """
    given = (
        parse_pattern("images", image_pattern, images) if images is not None else None,
        parse_pattern("masks", mask_pattern, masks) if masks is not None else None,
    )
    _require_files(files, given)
    candidates = find_shared_annotations(files, dataset)
    if images is None or masks is None:
        candidates += find_candidates(files, prober)
    candidates = [_restrict(candidate, given) for candidate in candidates]
    candidates = choose(candidates, sum(file.suffix in IMAGE_SUFFIXES for file in files))
    if images is not None and masks is not None:
        return _choose_given(files, prober, Patterns(images, masks, None), candidates)
    if not candidates:
        raise _no_masks(files, prober)
    best, *others = candidates
    patterns = _apply(given, build_patterns(best), best)
    return Choice(
        patterns=patterns,
        kind=best.kind,
        described=dict(best.matches.pairs) if best.is_shared else None,
        masks=best.mask_files.union(*(other.mask_files for other in others)),
        notes=tuple(_notes(best, others, patterns)),
    )


def _choose_given(
    files: Sequence[File], prober: Prober, patterns: Patterns, shared: Sequence[Candidate]
) -> Choice:
    """Return the user's patterns of images and masks with the content of the masks."""
    if shared:
        described = dict(shared[0].matches.pairs)
        return Choice(patterns=patterns, kind=shared[0].kind, described=described)
    masks = list(match_files(files, patterns).masks.values())
    examples = [mask.name for mask in spread(masks, _NUM_EXAMPLES)]
    prober.load(examples)
    for kind in map(prober.kind, examples):
        if kind is not None and kind not in ("coco", "cvat"):
            return Choice(patterns=patterns, kind=kind)
    raise InputError(f"{examples[0] if examples else patterns.masks}: not a mask or annotations")


def _require_files(files: Sequence[File], given: _Given) -> None:
    """Raise InputError if there are no images, or none that a pattern matches."""
    if not any(file.suffix in IMAGE_SUFFIXES for file in files):
        types = _count_suffixes(files)
        raise InputError(
            f"no images found among {len(files):,} files{types and f': {types}'}; images end "
            f"in {', '.join(IMAGE_SUFFIXES)}, and archives in a data set are not unpacked"
        )
    for option, pattern in zip(("images", "masks"), given, strict=True):
        if pattern is not None and not any(pattern.match(file.path) for file in files):
            raise InputError(f"--{option}: no file matches {pattern.text}")


def _restrict(candidate: Candidate, given: _Given) -> Candidate:
    """Return the candidate with only the pairs that the given patterns match."""
    pairs = candidate.matches.pairs
    for side, pattern in enumerate(given):
        if pattern is not None:
            pairs = [pair for pair in pairs if pattern.match(pair[side].path)]
    return replace(candidate, matches=candidate.matches._replace(pairs=pairs))


def _apply(given: _Given, found: Patterns, best: Candidate) -> Patterns:
    """Return the patterns that were found, with the given one and its fields in the other one."""
    (images, masks), pairs = given, best.matches.pairs
    if images:
        other = derive_pattern(images, pairs)
        return Patterns(images.text, other or found.masks, found.test_images)
    if masks:
        other = derive_pattern(masks, [(mask, image) for image, mask in pairs])
        if best.is_shared or not other or not FilePattern(other).fields:
            other = found.images
        return replace(found, images=other, masks=masks.text)
    return found


def _notes(best: Candidate, others: Sequence[Candidate], patterns: Patterns) -> Iterator[str]:
    if best.is_lossy:
        yield (
            "unsure: the masks are JPEG files, in which the colors are not exact; use the original "
            "masks if there are any"
        )
    if not best.has_photos:
        yield "unsure: the images have few colors, like masks; check that the two are not swapped"
    if best.num_missing:
        yield (
            f"unsure: {patterns.masks} also describes images that do not exist "
            f"({best.num_missing:,}); add them, or remove their entries"
        )
    yield from _other_notes(best, others, patterns)
    if patterns.num_unused_masks:
        yield (
            f"{patterns.num_unused_masks} images of the test split have masks, which are not used "
            "(data.test_images)"
        )


def _other_notes(best: Candidate, others: Sequence[Candidate], patterns: Patterns) -> Iterator[str]:
    """Yield the masks and the images that could be used instead."""
    found: dict[str, dict[str, None]] = {"masks": {}, "images": {}}
    used_pairs = set(best.matches.pairs)
    for other in others:
        if used_pairs.issuperset(other.matches.pairs):
            continue
        text = build_patterns(other)
        if not other.mask_files <= best.mask_files:
            found["masks"][f"{text.masks} ({other.kind})"] = None
        elif other.template.num_differences == best.template.num_differences:
            found["images"][text.images] = None
    for option, used in (("masks", f"{patterns.masks} ({best.kind})"), ("images", patterns.images)):
        others_shown = [text for text in found[option] if text != used][:_NUM_SHOWN]
        if others_shown:
            yield f"{used} is used; data.{option} can also choose {', '.join(others_shown)}"


def _no_masks(files: Sequence[File], prober: Prober) -> InputError:
    images = [file for file in files if file.suffix in IMAGE_SUFFIXES]
    types = _count_suffixes(file for file in files if file.suffix not in IMAGE_SUFFIXES)
    reason = "; the text files have bounding boxes, not polygons" if prober.has_boxes else ""
    texts = [file.path for file in files if file.suffix in (".json", ".xml")]
    if texts and not reason:
        reason = (
            f"; no .json or .xml file, such as {texts[0]}, has polygons of images with these "
            "names as COCO, LabelMe or CVAT for images: export the annotations in such a format"
        )
    return InputError(
        f"no masks found: {len(images):,} images in {count_by_folder(images)}"
        f"{types and f'; other files: {types}'}{reason}; name the pattern with --masks, such as "
        "labels/{id}.png"
    )


def _count_suffixes(files: Iterable[File]) -> str:
    """Return the most frequent suffixes with the numbers of files, for a message."""
    counts = Counter(file.suffix or "without suffix" for file in files)
    return ", ".join(f"{suffix} ({count:,})" for suffix, count in counts.most_common(_NUM_SHOWN))
