"""Write a candidate as the patterns of data.images, data.masks and data.test_images."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from roadseg.config.file_pattern import FilePattern
from roadseg.prepare.discovery.layouts.names import (
    File,
    Split,
    find_split,
    mask_score,
    split_off_common,
    spread,
)
from roadseg.prepare.discovery.layouts.pairing import Candidate
from roadseg.prepare.discovery.layouts.splits import find_splits
from roadseg.prepare.discovery.layouts.templates import (
    LOCAL_FIELD,
    Parts,
    read_fields,
    replace_text,
)

_MAX_ALTERNATIVES = 12
_ANYTHING = "*"
_ALTERNATIVES = ""
_TOKEN = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_NUM_EXAMPLES = 100


@dataclass(frozen=True)
class Patterns:
    """The patterns of one way to pair images with masks."""

    images: str
    masks: str
    test_images: str | None
    num_unused_masks: int = 0
    """Masks of test images."""


class _Row(NamedTuple):
    image: File
    mask: File | None
    fields: Mapping[int, str]
    """Values of the template's fields."""
    split: Split | None


def build_patterns(candidate: Candidate) -> Patterns:
    """Return the patterns of a candidate; images of a test split get their own one."""
    rows = _read_rows(candidate)
    train = [row for row in rows if row.split != "test"]
    test = [row for row in rows if row.split == "test"]
    if not any(row.mask for row in train):
        train, test = rows, []
    paired = [row for row in train if row.mask is not None]
    roles = _assign_roles(candidate, train, paired)
    parts = candidate.template.image
    images = _render(parts, roles, paired) + _suffixes(row.image for row in train)
    masks = _render(candidate.template.mask, roles, paired)
    test_images = _render(parts, roles, test) + _suffixes(row.image for row in test) if test else ""
    return Patterns(
        images=images,
        masks=masks + _suffixes(row.mask for row in paired if row.mask),
        test_images=test_images if test_images not in ("", images) else None,
        num_unused_masks=sum(row.mask is not None for row in test),
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
        names.append(_escape(texts[0]) if len({*texts}) == 1 else varying)
    return "/".join((*names, "{id}")) + _suffixes(test)


def derive_pattern(known: FilePattern, pairs: Sequence[tuple[File, File]]) -> str | None:
    """Return the pattern of the second files of `pairs`, with the fields of that of the first ones.

    None if there is none.
    """
    tokens = {found[1]: found[0] for found in _TOKEN.finditer(known.text)}
    derived: Counter[str] = Counter()
    for first, second in spread(pairs, _NUM_EXAMPLES):
        if match := known.match(first.path):
            parts: Parts = (second.base,)
            for name, value in sorted(match.values.items(), key=lambda item: -len(item[1])):
                parts = replace_text(parts, value, known.fields.index(name))
            texts = [_escape(p) if isinstance(p, str) else tokens[known.fields[p]] for p in parts]
            derived["".join(texts) + second.ending] += 1
    return max(derived, key=lambda text: derived[text], default=None)


def _read_rows(candidate: Candidate) -> list[_Row]:
    pairs: list[tuple[File, File | None]] = [*candidate.matches.pairs]
    pairs += [(file, None) for file in candidate.matches.unmasked]
    splits = find_splits(pairs, candidate.is_shared)
    rows = []
    for image, mask in pairs:
        fields = read_fields(candidate.template.image, image)
        if mask is not None:
            fields |= read_fields(candidate.template.mask, mask)
        rows.append(_Row(image, mask, fields, splits[image]))
    return rows


def _assign_roles(
    candidate: Candidate, train: Sequence[_Row], paired: Sequence[_Row]
) -> dict[int, str]:
    """Return the name of each varying field in the patterns, _ANYTHING or _ALTERNATIVES."""
    template = candidate.template
    values = {field: texts for field, texts in _values(paired).items() if len(texts) > 1}
    stems = [p for p in template.image if isinstance(p, int)]
    stems = sorted(field for field in stems if template.num_folders <= field < LOCAL_FIELD)
    stems = [field for field in stems if field in values] or stems[-1:]
    roles: dict[int, str] = {}
    folders = []
    for field in sorted(values.keys() - {*stems}):
        splits = {find_split(text) for text in values[field]}
        is_in_mask = field in template.mask or candidate.is_shared
        if field not in template.image or not is_in_mask:
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
        row.fields[stems[0]].startswith(row.fields[field]) for field in folders for row in rows
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
            rendered.append(_escape(part))
        elif roles.get(part) not in ("id", "id2") and len(values[part]) == 1:
            rendered.append(_escape(values[part][0]))
        else:
            rendered.append(_render_field(roles.get(part, _ALTERNATIVES), values[part]))
    return "".join(rendered)


def _render_field(role: str, texts: Sequence[str]) -> str:
    free = _ANYTHING if role in (_ANYTHING, _ALTERNATIVES) else f"{{{role}}}"
    if role not in ("split", _ALTERNATIVES) or len(texts) > _MAX_ALTERNATIVES:
        return free
    head, middles, tail = split_off_common(texts)
    if not all(middles) or re.search(r"[{}*,/]", "".join(middles)):
        return free
    name = "split:" if role == "split" else ""
    return f"{_escape(head)}{{{name}{','.join(middles)}}}{_escape(tail)}"


def _escape(text: str) -> str:
    """Replace the characters that have a meaning in patterns or that no name may have."""
    return re.sub(r"[{}*\x00-\x1f\x7f\ud800-\udfff]", _ANYTHING, text)


def _suffixes(files: Iterable[File]) -> str:
    """Return `.png`, or `.{jpg,JPG}` with the most frequent suffix first."""
    counts = Counter(file.ending[1:] for file in files)
    found = sorted(counts, key=lambda suffix: (-counts[suffix], suffix))
    return f".{found[0]}" if len(found) == 1 else f".{{{','.join(found)}}}"
