"""Merge templates of splits, such as masks in masks/train and masks/val of images in images/."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from roadseg.prepare.discovery.layouts.templates import (
    LOCAL_FIELD,
    PairTemplate,
    Parts,
    join_parts,
    make_field,
)
from roadseg.prepare.discovery.layouts.words import find_split


class _Key(NamedTuple):
    """All that templates of different splits have in common."""

    side: str
    other: Parts
    """The other side."""
    place: int
    """Number of the directory that differs."""
    outside: tuple[Parts, ...]
    """The names around it."""


def merge_splits(templates: Iterable[PairTemplate]) -> Iterator[tuple[PairTemplate, PairTemplate]]:
    """Yield templates for all splits, each with one of the templates that it stands for.

    The templates that are merged differ in one directory of either the images or the masks.
    """
    groups: dict[_Key, dict[str, PairTemplate]] = defaultdict(dict)
    for template in templates:
        for side in ("image", "mask"):
            names = _to_names(_side(template, side))
            other = _side(template, "mask" if side == "image" else "image")
            for place, name in enumerate(names[:-1]):
                text = name[0] if len(name) == 1 else ""
                if isinstance(text, str) and find_split(text):
                    outside = (*names[:place], *names[place + 1 :])
                    groups[_Key(side, other, place, outside)][text] = template
    for key, members in groups.items():
        if len({find_split(name) for name in members}) > 1:
            one = next(iter(members.values()))
            names = _to_names(_side(one, key.side))
            names[key.place] = make_field(LOCAL_FIELD, list(members))[0]
            parts = join_parts(names)
            merged = replace(one, image=parts) if key.side == "image" else replace(one, mask=parts)
            yield merged, one


def _side(template: PairTemplate, side: str) -> Parts:
    return template.image if side == "image" else template.mask


def _to_names(parts: Parts) -> list[Parts]:
    """Split a path into the parts of its names."""
    names: list[list[str | int]] = [[]]
    for part in parts:
        if isinstance(part, int):
            names[-1].append(part)
            continue
        first, *others = part.split("/")
        names[-1] += [first] if first else []
        names += [[name] if name else [] for name in others]
    return [tuple(name) for name in names]
