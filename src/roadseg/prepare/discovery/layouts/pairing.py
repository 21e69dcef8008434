"""Find the templates of images and masks in a list of files."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from roadseg.config.file_pattern import IMAGE_SUFFIXES
from roadseg.prepare.discovery.layouts.names import (
    File,
    is_other_sensor,
    mask_score,
    second_choice_score,
    split_words,
    spread,
)
from roadseg.prepare.discovery.layouts.probes import ImageProbe, MaskKind, Prober
from roadseg.prepare.discovery.layouts.templates import (
    NO_MATCHES,
    Matches,
    PairTemplate,
    Parts,
    align,
    literal_texts,
)

_KINDS: tuple[MaskKind, ...] = ("ids", "colors", "labelme", "coco", "cvat", "yolo")
"""Best first, if the same images have several kinds of masks."""

_NUM_SAMPLES = 400
"""Files for which a partner is looked for."""
_WINDOW = 8
"""Neighbors in each order of the names that are tried as partners."""
_NUM_TEMPLATES = 15
"""Templates whose files are looked into."""
_MIN_FRACTION = 0.1
"""Fewest examples of a template that is looked into, relative to those of the first one."""
_NUM_EXAMPLES = 3
_FEW_IMAGES = 5
"""Image files among which a single pair is not a coincidence."""


@dataclass(frozen=True)
class Candidate:
    """A template whose masks look like masks."""

    template: PairTemplate
    kind: MaskKind
    has_photos: bool
    """The images do not look like masks themselves."""
    is_lossy: bool = False
    """The masks are JPEG files."""
    matches: Matches = NO_MATCHES
    num_missing: int = 0
    """Images that shared annotation files describe and that do not exist."""

    @cached_property
    def mask_files(self) -> frozenset[File]:
        """The masks of all images."""
        return frozenset(mask for _, mask in self.matches.pairs)

    @property
    def is_shared(self) -> bool:
        """One annotation file describes many images."""
        return self.kind in ("coco", "cvat")

    @property
    def rank(self) -> tuple[object, ...]:
        """Sort key; the best candidate has the smallest one."""
        image, mask = map(literal_texts, (self.template.image, self.template.mask))
        return (
            *(not self.has_photos, is_other_sensor(image)),
            *(self.is_lossy, _KINDS.index(self.kind)),
            *(second_choice_score(mask), max(mask_score(image), 0), -mask_score(mask)),
            *(self.template.num_differences, -len(self.matches.pairs)),
            *(str(self.template.mask), str(self.template.image)),
        )


def find_candidates(files: Sequence[File], prober: Prober) -> list[Candidate]:
    """Return the ways to pair images with masks or annotation files of their own."""
    proposals = propose_templates(files)
    ranked = sorted(proposals.items(), key=lambda item: (-len(item[1]), item[0].num_differences))
    fewest = max((len(pairs) for pairs in proposals.values()), default=0) * _MIN_FRACTION
    chosen = {
        template: spread(pairs, _NUM_EXAMPLES)
        for template, pairs in ranked[:_NUM_TEMPLATES]
        if len(pairs) >= fewest
    }
    prober.load(file.name for pairs in chosen.values() for file in chain(*pairs))
    judged = [_judge(template, pairs, prober) for template, pairs in chosen.items()]
    candidates = [candidate for candidate in judged if candidate is not None]
    has_photos = any(candidate.has_photos for candidate in candidates)
    return [
        replace(candidate, matches=candidate.template.match(files))
        for candidate in candidates
        if candidate.has_photos or not has_photos
    ]


def choose(candidates: Sequence[Candidate], num_images: int) -> list[Candidate]:
    """Sort the candidates, the best one first, and leave out those that pair few images."""
    counts = [len(candidate.matches.pairs) for candidate in candidates]
    fewest = max(max(counts, default=0) // 2, 0 if num_images < _FEW_IMAGES else 1)
    many = [entry for entry, count in zip(candidates, counts, strict=True) if count > fewest]
    return sorted(many, key=lambda candidate: candidate.rank)


def propose_templates(files: Sequence[File]) -> dict[PairTemplate, list[tuple[File, File]]]:
    """Return the templates of files with similar names, with the examples of each.

    Files that differ in few words are neighbors in one of several orders of the names. Two
    neighbors that do not belong together give a template that has hardly any other example.
    """
    proposals: dict[PairTemplate, list[tuple[File, File]]] = defaultdict(list)
    samples = _sample([file for file in files if file.suffix in IMAGE_SUFFIXES])
    for file, other in sorted(set(_neighbors(files, samples))):
        if (template := align(file, other)) is not None:
            proposals[template].append((file, other))
    return proposals


def _sample(files: Sequence[File]) -> set[File]:
    """Return files that are spread evenly over the directories, and within each of them."""
    folders: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in files:
        folders[file.folder, file.suffix].append(file)
    chosen = spread(list(folders.values()), _NUM_SAMPLES)
    per_folder = max(1, _NUM_SAMPLES // max(1, len(chosen)))
    return {file for members in chosen for file in spread(members, per_folder)}


def _neighbors(files: Sequence[File], samples: Set[File]) -> Iterator[tuple[File, File]]:
    """Yield each of `samples` with its neighbors; of two images, the one that sorts first."""
    words = {file: split_words(file.stem) for file in files}
    orders: list[Callable[[File], object]] = [
        lambda file: (words[file], file.folders),
        lambda file: (words[file], file.folders[::-1]),
        lambda file: (words[file][::-1], file.folders),
        lambda file: (file.folders, words[file]),
    ]
    for order in orders:
        ordered = sorted(files, key=order)  # type: ignore[arg-type]
        for place, file in enumerate(ordered):
            if file not in samples:
                continue
            for other in ordered[max(0, place - _WINDOW) : place + _WINDOW + 1]:
                if other.suffix not in IMAGE_SUFFIXES:
                    yield file, other
                elif other != file:
                    yield min(file, other), max(file, other)


def _judge(
    template: PairTemplate, pairs: Sequence[tuple[File, File]], prober: Prober
) -> Candidate | None:
    """Decide which side of a template has the masks; None if there are no masks."""
    sides = [
        [probe for file in side if (probe := prober.image(file.name))]
        for side in zip(*pairs, strict=True)
    ]
    if not template.mask_suffixes & {*IMAGE_SUFFIXES}:
        for _, file in pairs:
            kind = prober.kind(file.name)
            if kind in ("labelme", "yolo"):
                return Candidate(template, kind, not _is_flat(sides[0]))
        return None
    if not all(sides):
        return None
    if _mask_key(template.image, sides[0]) > _mask_key(template.mask, sides[1]):
        template, sides = template.swap(), sides[::-1]
    images, masks = sides
    scores = [mask_score(literal_texts(parts)) for parts in (template.image, template.mask)]
    is_named = scores[0] <= 0 < scores[1]
    if _is_flat(images) == _is_flat(masks) and not is_named:
        return None
    is_lossy = any(probe.is_lossy for probe in masks)
    has_colors = any(probe.kind == "colors" for probe in masks)
    return Candidate(template, "colors" if has_colors else "ids", not _is_flat(images), is_lossy)


def _mask_key(parts: Parts, probes: Sequence[ImageProbe]) -> tuple[bool, int, int]:
    """Sort key: content first, then names, then the number of values."""
    num_values = max(probe.num_values for probe in probes)
    return _is_flat(probes), mask_score(literal_texts(parts)), -num_values


def _is_flat(probes: Sequence[ImageProbe]) -> bool:
    return 2 * sum(probe.is_flat for probe in probes) > len(probes)
