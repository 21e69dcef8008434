"""Match the files of a dataset with patterns, and derive one pattern from another."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from roadseg.config.file_pattern import (
    IMAGE_SUFFIXES,
    FilePattern,
    image_pattern,
    join_id,
    mask_pattern,
)
from roadseg.prepare.discovery.patterns import Patterns, escape
from roadseg.prepare.discovery.templates import File, Parts, replace_text

_TOKEN = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_NUM_EXAMPLES = 100


@dataclass(frozen=True)
class MatchedFiles:
    """The files of a dataset by the pattern that they match."""

    images: list[tuple[File, str]]
    """Images with their ids."""
    masks: dict[File, File]
    """Image -> its mask or annotation file, if it has one."""
    test_images: list[File]
    num_unused_masks: int
    """Masks without an image."""
    others: list[File]
    """Image files that no pattern matches."""


def match_files(files: Iterable[File], patterns: Patterns) -> MatchedFiles:
    """Sort files by the pattern that matches them; if several do, the most literal one wins."""
    images, masks = image_pattern(patterns.images), mask_pattern(patterns.masks)
    expressions = [images, masks]
    if patterns.test_images is not None:
        expressions.append(image_pattern(patterns.test_images))
    found: list[list[tuple[File, dict[str, str]]]] = [[], [], []]
    others = []
    for file in files:
        matches = [
            (match.num_literal, i, match.values)
            for i, pattern in enumerate(expressions)
            if (match := pattern.match(file.path)) is not None
        ]
        if not matches and file.suffix in IMAGE_SUFFIXES:
            others.append(file)
        elif matches:
            _, kind, values = max(matches, key=lambda match: match[0])
            found[kind].append((file, values))
    by_fields = {_key(values, masks): file for file, values in found[1]}
    keys = {file: _key(values, masks) for file, values in found[0]}
    return MatchedFiles(
        images=[(file, join_id(values, images.fields)) for file, values in found[0]],
        masks={file: by_fields[key] for file, key in keys.items() if key in by_fields},
        test_images=[file for file, _ in found[2]],
        num_unused_masks=len(by_fields.keys() - {*keys.values()}),
        others=others,
    )


def _key(values: Mapping[str, str], masks: FilePattern) -> tuple[str, ...]:
    return tuple(values.get(field, "") for field in masks.fields)


def derive_pattern(known: FilePattern, pairs: Sequence[tuple[File, File]]) -> str | None:
    """Return the pattern of the second files of `pairs`, with the fields of that of the first ones.

    None if there is none that matches most of them.
    """
    tokens = {found[1]: found[0] for found in _TOKEN.finditer(known.text)}
    found: Counter[str] = Counter()
    for first, second in pairs[:: max(1, len(pairs) // _NUM_EXAMPLES)]:
        match = known.match(first.path)
        parts: Parts = (second.base,)
        for field, text in sorted(
            (match.values if match else {}).items(), key=lambda i: -len(i[1])
        ):
            parts = replace_text(parts, text, known.fields.index(field))
        texts = (escape(p) if isinstance(p, str) else tokens[known.fields[p]] for p in parts)
        found["".join(texts)] += 1
    return max(found, key=lambda text: found[text], default=None)
