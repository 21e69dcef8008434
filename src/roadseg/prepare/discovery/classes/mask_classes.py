"""Find the classes of masks from the values in a sample of them, and a class table.

Shapes: N colors.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from roadseg.config.class_map import Color
from roadseg.prepare.discovery.classes.class_tables import ClassTable, TableClass
from roadseg.prepare.discovery.classes.classes import Classes, ClassMapDraft
from roadseg.prepare.discovery.classes.known_classes import (
    VOC_NAMES,
    find_known_class_map,
    is_voc,
    voc_color,
)
from roadseg.prepare.discovery.classes.mask_statistics import MaskStatistics, ValueCounts

_BORDER_ID = 255
"""Label id that public data sets give to borders and unlabeled pixels."""
_BLACK = (0, 0, 0)
_UNNAMED_COLORS = {_BLACK, voc_color(_BORDER_ID)}
"""Colors of unlabeled pixels that class tables often leave out."""
_SPACING = 20
"""Smallest gap of label ids that are gray values chosen for the eye, such as 0, 127 and 255."""
_RARE = 0.005
"""A value that covers less than this fraction of every mask may be a mixture of two classes."""
_MANY = 3
"""If there are so many times more rare values than others, they are mixtures."""
_MOST_RARE = 32
"""Number of rare colors up to which each is taken as a class."""
_SAME_COLOR, _SAME_LOSSY_COLOR = 16, 32
"""Difference per channel below which mixed and compressed colors are taken as one."""
_MAX_TOLERANCE = 128
_NO_NAMES = "unsure: classes have no names; rename class_0, class_1 and so on in the class map"


def find_mask_classes(
    statistics: MaskStatistics, table: ClassTable | None, mask: str, folder: Path
) -> Classes:
    """Find the classes of masks of label ids or colors.

    Args:
        mask: name of any mask.
        folder: directory of the class maps of this project.

    Raises:
        InputError: the masks have more values than a class map has classes.
    """
    classes = _find_classes(statistics, table, mask, folder)
    if not (classes.mask_values == "colors" and statistics.num_gray and statistics.num_painted):
        return classes
    note = (
        f"unsure: {statistics.num_gray:,} masks are gray and {statistics.num_painted:,} in color, "
        "and each gray is taken as a color; are these label ids? Use one kind only (--masks)"
    )
    return replace(classes, notes=(note, *classes.notes))


def _find_classes(
    statistics: MaskStatistics, table: ClassTable | None, mask: str, folder: Path
) -> Classes:
    by_color = table.by_color() if table else {}
    found = statistics.colors.pixels.keys()
    in_table = found & by_color.keys()
    if in_table - {_BLACK} and found - in_table <= _UNNAMED_COLORS:
        return _painted_classes(statistics.colors, by_color, "colors")
    if mask.casefold().endswith((".jpg", ".jpeg")):
        return _painted_classes(statistics.colors, by_color, "colors", is_lossy=True)
    if statistics.num_painted or _has_mixed_grays(statistics.ids):
        return _painted_classes(statistics.colors, by_color, "colors")
    if any(len(colors) > 1 for colors in statistics.palette.values()):
        return _painted_classes(
            statistics.colors, by_color, "colors of palettes, which are ordered differently"
        )
    return _id_classes(statistics, table, mask, folder)


def _has_mixed_grays(counts: ValueCounts[int]) -> bool:
    """True if most grays are mixtures of a few, such as of black and white at soft edges."""
    frequent = {gray for gray, fraction in counts.largest_fractions.items() if fraction >= _RARE}
    num_rare = len(counts.pixels) - len(frequent)
    return num_rare > _MANY * len(frequent) and _are_spaced(frequent)


def _has_mixed_colors(counts: ValueCounts[Color]) -> bool:
    """True if there are so many rare colors that they cannot all be classes."""
    num_rare = sum(fraction < _RARE for fraction in counts.largest_fractions.values())
    return num_rare > max(_MOST_RARE, _MANY * (len(counts.pixels) - num_rare))


def _are_spaced(ids: set[int]) -> bool:
    """True for several gray values that are chosen for the eye, and not counted."""
    return len(ids) > 1 and int(np.diff(sorted(ids)).min()) >= _SPACING


def _id_classes(
    statistics: MaskStatistics, table: ClassTable | None, mask: str, folder: Path
) -> Classes:
    ids = set(statistics.ids.pixels)
    palette = {i: next(iter(colors)) for i, colors in statistics.palette.items()}
    encoding = "label ids, palette indices" if palette else "label ids, gray values"
    if known := find_known_class_map(mask, ids, folder):
        name, class_map = known
        return Classes(class_map=class_map, known_as=name, encoding=encoding)
    draft = ClassMapDraft()
    if _has_border(statistics.ids):
        ids.remove(_BORDER_ID)
        draft.ignored_label_ids.append(_BORDER_ID)
        draft.notes.append("unsure: label id 255 is ignored; in public sets it is a border")
    names = _names_in_table(table, ids, draft.notes)
    if names and 0 in ids and 0 not in names:
        ids.remove(0)
        draft.ignored_label_ids.append(0)
        draft.notes.append("unsure: label id 0 is ignored, because the class table has no name")
    if not names and is_voc(mask, palette):
        names = {i: TableClass(name) for i, name in enumerate(VOC_NAMES)}
    elif not names and len(ids) == 2 and 0 in ids:
        names = {0: TableClass("background"), max(ids): TableClass("object")}
    elif not names:
        names = {label_id: TableClass(f"class_{label_id}") for label_id in sorted(ids)}
        draft.notes.append(_NO_NAMES)
    colors = _class_colors(names, palette)
    for label_id, entry in names.items():
        draft.add(entry.name, colors[label_id], label_ids=[label_id])
    return Classes(class_map=draft.build(), encoding=encoding, notes=tuple(draft.notes))


def _has_border(counts: ValueCounts[int]) -> bool:
    """True if 255 is next to label ids, and not the white of gray values for the eye.

    A few stray pixels of another gray do not make black and white label ids.
    """
    others = counts.largest_fractions.keys() - {_BORDER_ID}
    frequent = [label_id for label_id in others if counts.largest_fractions[label_id] >= _RARE]
    ids = set(counts.pixels)
    return _BORDER_ID in ids and len(frequent) > 1 and not _are_spaced(ids)


def _names_in_table(
    table: ClassTable | None, ids: set[int], notes: list[str]
) -> dict[int, TableClass]:
    """Return the classes of the table by label id; empty if it lacks one of `ids`."""
    if table is None:
        return {}
    names = table.by_label_id()
    if unnamed := sorted(ids - names.keys() - {0}):
        notes.append(f"unsure: {table.file} has no class for label id {unnamed[0]}; it is not used")
        return {}
    if table.by_color():
        notes.append(f"unsure: label ids are the positions in {table.file}, from 0")
    return names


def _class_colors(
    names: Mapping[int, TableClass], palette: Mapping[int, Color]
) -> dict[int, Color]:
    """Return a color by label id: from the table, the palette or VOC's palette."""
    given = {i: entry.color or palette.get(i) for i, entry in names.items()}
    if None in given.values() or len(set(given.values())) < len(given):
        given = {i: entry.color for i, entry in names.items()}
    by_id = max(names) < 128
    spares = {i: voc_color(i if by_id else place) for place, i in enumerate(names)}
    return {i: color or spares[i] for i, color in given.items()}


def _painted_classes(
    counts: ValueCounts[Color],
    by_color: Mapping[Color, TableClass],
    encoding: str,
    is_lossy: bool = False,
) -> Classes:
    """Find the classes of masks in colors; `by_color` are those of the table."""
    draft, tolerance = ClassMapDraft(), 0
    found = sorted(counts.pixels, key=lambda color: (-counts.pixels[color], color))
    is_named = counts.pixels.keys() <= by_color.keys() | _UNNAMED_COLORS
    if is_lossy or (not is_named and _has_mixed_colors(counts)):
        distance = _SAME_LOSSY_COLOR if is_lossy else _SAME_COLOR
        common = [color for color in found if counts.largest_fractions[color] >= _RARE]
        frequent = _distinct_colors([*by_color, *common], distance)
        tolerance = max(distance, _largest_distance(found, frequent))
        draft.notes.append(
            f"unsure: the masks have {len(found):,} colors, as if anti-aliased or compressed; each "
            f"pixel gets the nearest of {len(frequent)} colors (data.color_tolerance)"
        )
        found = frequent
    for color, entry in by_color.items():
        draft.add(entry.name, color, is_painted=True)
    _add_unnamed(draft, [color for color in found if color not in by_color], bool(by_color))
    return Classes(
        class_map=draft.build(),
        mask_values="colors",
        color_tolerance=tolerance,
        encoding=encoding,
        notes=tuple(draft.notes),
    )


def _add_unnamed(draft: ClassMapDraft, colors: list[Color], has_table: bool) -> None:
    """Add the colors that no table names, the most frequent first."""
    if not has_table and len(colors) == 2 and _BLACK in colors:
        names = dict(zip(sorted(colors), ("background", "object"), strict=True))
    else:
        names = {_BLACK: "background"}
    for color in colors:
        if has_table and color in _UNNAMED_COLORS:
            draft.ignored_colors.append(list(color))
            draft.notes.append(f"unsure: color {list(color)} is ignored; the class table lacks it")
        else:
            draft.add(names.get(color, f"class_{len(draft.classes)}"), color, is_painted=True)
    if not names.keys() >= set(colors) - _UNNAMED_COLORS:
        draft.notes.append(_NO_NAMES)


def _distinct_colors(colors: list[Color], distance: int) -> list[Color]:
    """Return the colors without those that are nearer than `distance` to an earlier one."""
    distinct: list[Color] = []
    for color in colors:
        if not distinct or _largest_distance([color], distinct) >= distance:
            distinct.append(color)
    return distinct


def _largest_distance(colors: list[Color], centers: list[Color]) -> int:
    """Return the largest difference per channel of `colors`, (N, 3), to the nearest center."""
    values = np.array(colors, dtype=np.int16)
    nearest = np.full(len(values), 255)
    for center in centers:
        nearest = np.minimum(nearest, abs(values - np.array(center)).max(axis=1))
    return min(_MAX_TOLERANCE, int(nearest.max()))
