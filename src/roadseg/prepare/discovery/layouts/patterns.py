"""Write a candidate as the patterns of data.images, data.masks and data.test_images."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from roadseg.prepare.discovery.layouts.pairing import Candidate
from roadseg.prepare.discovery.layouts.splits import SplitFinder, split_path
from roadseg.prepare.discovery.layouts.templates import (
    LOCAL_FIELD,
    File,
    Parts,
    read_fields,
    split_off_common,
)
from roadseg.prepare.discovery.layouts.words import Split, find_split, mask_score

_MAX_ALTERNATIVES = 12
_ANYTHING = "*"
_ALTERNATIVES = ""


class _Row(NamedTuple):
    """An image with the values of the template's fields."""

    image: File
    mask: File | None
    fields: Mapping[int, str]
    split: Split | None


@dataclass(frozen=True)
class Patterns:
    """The patterns of one way to pair images with masks."""

    images: str
    masks: str
    test_images: str | None
    num_unused_masks: int = 0
    """Masks of test images."""
    wide_images: str | None = None
    """Pattern of the images with the suffixes of those that have no mask, too."""


def build_patterns(candidate: Candidate) -> Patterns:
    """Return the patterns of a candidate; images of a test split get their own one."""
    rows = _read_rows(candidate)
    train = [row for row in rows if row.split != "test"]
    test = [row for row in rows if row.split == "test"]
    if not any(row.mask for row in train):
        train, test = rows, []
    paired = [row for row in train if row.mask is not None]
    roles = _assign_roles(candidate, train, paired)
    template = candidate.template
    stem = _render(template.image, roles, paired)
    images = stem + suffixes(row.image for row in paired)
    wide_images = stem + suffixes(row.image for row in train)
    masks = [row.mask for row in paired if row.mask is not None]
    test_images = None
    if test:
        test_images = _render(template.image, roles, test) + suffixes(row.image for row in test)
    return Patterns(
        images=images,
        masks=_render(template.mask, roles, paired) + suffixes(masks),
        test_images=None if test_images == images else test_images,
        num_unused_masks=sum(row.mask is not None for row in test),
        wide_images=None if wide_images == images else wide_images,
    )


def guess_test_images(files: Iterable[File]) -> str | None:
    """Return a pattern for images, of which no pattern has any yet, in directories for tests."""
    test = [file for file in files if "test" in map(find_split, file.folders)]
    test = [file for file in test if mask_score(file.folders) <= 0]
    if not test:
        return None
    (depth, _), *_ = Counter(len(file.folders) for file in test).most_common(1)
    test = [file for file in test if len(file.folders) == depth]
    is_unique = len({file.stem for file in test}) == len(test)
    names = []
    for place, texts in enumerate(zip(*(file.folders for file in test), strict=True)):
        varying = _ANYTHING if is_unique else f"{{folder{place + 1}}}"
        names.append(escape(texts[0]) if len({*texts}) == 1 else varying)
    return "/".join((*names, "{id}")) + suffixes(test)


def _read_rows(candidate: Candidate) -> list[_Row]:
    pairs: list[tuple[File, File | None]] = [*candidate.matches.pairs]
    pairs += [(file, None) for file in candidate.matches.unmasked]
    paths = [split_path(*pair, candidate.is_shared) for pair in pairs]
    finder = SplitFinder(paths)
    rows = []
    for (image, mask), path in zip(pairs, paths, strict=True):
        fields = read_fields(candidate.template.image, image)
        if mask is not None:
            fields |= read_fields(candidate.template.mask, mask)
        rows.append(_Row(image, mask, fields, finder.find(path)))
    return rows


def _assign_roles(
    candidate: Candidate, train: Sequence[_Row], paired: Sequence[_Row]
) -> dict[int, str]:
    """Return the name of each varying field in the patterns, _ANYTHING or _ALTERNATIVES."""
    template = candidate.template
    on_image, on_mask = (
        {p for p in side if isinstance(p, int)} for side in (template.image, template.mask)
    )
    values = {field: texts for field, texts in _values(paired).items() if len(texts) > 1}
    stems = [field for field in sorted(on_image) if template.num_folders <= field < LOCAL_FIELD]
    stems = [field for field in stems if field in values] or stems[-1:]
    roles: dict[int, str] = {}
    folders = []
    for field in sorted(values.keys() - {*stems}):
        splits = {find_split(text) for text in values[field]}
        if field not in on_image or not (field in on_mask or candidate.is_shared):
            roles[field] = _ALTERNATIVES
        elif None in splits or len(splits) == 1:
            folders.append(field)
        else:
            roles[field] = _ALTERNATIVES if "split" in roles.values() else "split"
    split = [field for field, role in roles.items() if role == "split"]
    if stems and _is_redundant(train, folders, stems, split):
        roles |= dict.fromkeys(folders, _ANYTHING)
    else:
        roles |= {field: f"folder{place or ''}" for place, field in enumerate(folders)}
    if not stems and folders:
        roles[folders[-1]] = "id"
    return roles | dict(zip(stems, ("id", "id2"), strict=False))


def _is_redundant(
    rows: Sequence[_Row], folders: Sequence[int], stems: Sequence[int], split: Sequence[int]
) -> bool:
    """Check whether the file names begin with their directories, and are unique without them."""
    keys = {tuple(row.fields[field] for field in (*split, *stems)) for row in rows}
    return len(keys) == len(rows) and all(
        row.fields[stem].startswith(row.fields[field])
        for stem in stems[:1]
        for field in folders
        for row in rows
    )


def _values(rows: Iterable[_Row]) -> dict[int, list[str]]:
    """Return the distinct texts of each field, sorted."""
    found: dict[int, set[str]] = defaultdict(set)
    for row in rows:
        for field, text in row.fields.items():
            found[field].add(text)
    return {field: sorted(texts) for field, texts in found.items()}


def _render(parts: Parts, roles: Mapping[int, str], rows: Sequence[_Row]) -> str:
    """Write the pattern of one side of a template, without suffix, for the names of `rows`."""
    values = _values(rows)
    rendered = []
    for part in parts:
        if isinstance(part, str):
            rendered.append(escape(part))
        elif roles.get(part) in ("id", "id2"):
            rendered.append(f"{{{roles[part]}}}")
        elif len(values[part]) == 1:
            rendered.append(escape(values[part][0]))
        else:
            rendered.append(_render_field(roles.get(part, _ALTERNATIVES), values[part]))
    return "".join(rendered)


def _render_field(role: str, texts: Sequence[str]) -> str:
    if role == _ANYTHING or (role not in ("split", _ALTERNATIVES)):
        return _ANYTHING if role == _ANYTHING else f"{{{role}}}"
    head, middles, tail = split_off_common(texts)
    is_plain = all(middles) and not re.search(r"[{}*,/]", "".join(middles))
    if not is_plain or len(texts) > _MAX_ALTERNATIVES:
        return _ANYTHING if role == _ALTERNATIVES else f"{{{role}}}"
    name = "split:" if role == "split" else ""
    return f"{escape(head)}{{{name}{','.join(middles)}}}{escape(tail)}"


def escape(text: str) -> str:
    """Replace the characters that have a meaning in patterns or that no name may have."""
    return re.sub(r"[{}*\x00-\x1f\x7f\ud800-\udfff]", _ANYTHING, text)


def suffixes(files: Iterable[File]) -> str:
    """Return `.png`, or `.{jpg,JPG}` with the most frequent suffix first."""
    counts = Counter(file.ending[1:] for file in files)
    found = sorted(counts, key=lambda suffix: (-counts[suffix], suffix))
    return f".{found[0]}" if len(found) == 1 else f".{{{','.join(found)}}}"
