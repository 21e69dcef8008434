"""Summary of an inspected data set for the terminal."""

import re
import textwrap
from collections.abc import Iterator

import numpy as np

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.prepare.discovery.configuration import Configuration
from roadseg.prepare.discovery.inspection import Inspection

_SHOWN_NAMES = 3
_WIDTH = 100  # characters
_INDENT = 15  # characters, width of the first column


def summarize(inspection: Inspection, configuration: Configuration) -> Iterator[str]:
    """Yield the lines of a summary: files, encoding, splits, classes, and notes."""
    layout, classes, params = inspection.layout, inspection.classes, configuration.params
    table = f", names from {inspection.table}" if inspection.table else ""
    rows = [
        ("images", f"{len(layout.pairs):,} with masks, {_sizes(inspection)}"),
        ("", layout.images),
        ("masks", f"{classes.encoding}; {inspection.sample_text} read"),
        ("", layout.masks),
        ("test images", f"{len(layout.test_names):,}" if layout.test_images else "none"),
        ("", layout.test_images),
        ("first pair", layout.pairs[0].image),
        ("", layout.pairs[0].mask),
        ("validation", _validation(inspection, params["split.val_ids"])),
        ("scale", f"{params['remap.scale']:g}"),
        ("classes", f"{params['remap.classes']}{table}"),
    ]
    yield from (f"  {key:<{_INDENT}}{text}" for key, text in rows if text)
    yield from _class_rows(inspection)
    for note in (*layout.notes, *classes.notes, *_absent_classes(inspection)):
        yield from textwrap.wrap(note, _WIDTH, initial_indent="- ", subsequent_indent="  ")


def _sizes(inspection: Inspection) -> str:
    sizes = sorted({example.size for example in inspection.examples})
    texts = [f"{height}x{width}" for height, width in dict.fromkeys(sizes[:1] + sizes[-1:])]
    return f"{' to '.join(texts) or 'unknown number of'} pixels"


def _validation(inspection: Inspection, val_ids: object) -> str:
    layout = inspection.layout
    if isinstance(layout.val_ids, tuple):
        return f"{len(layout.val_ids):,} ids in {val_ids}"
    if layout.val_ids is not None:
        count = sum(bool(re.search(layout.val_ids, pair.image_id)) for pair in layout.pairs)
        return f"{count:,} ids that match {layout.val_ids}"
    if layout.group_by is None:
        return "drawn at random (split.val_fraction)"
    found = [re.search(layout.group_by, pair.image_id) for pair in layout.pairs]
    count = len({match[1] for match in found if match})
    return f"drawn at random from {count:,} groups, {layout.group_by}"


def _class_rows(inspection: Inspection) -> Iterator[str]:
    class_map = inspection.classes.class_map
    longest = max(len(name) for name in class_map.names)
    colors, fractions = class_map.hex_colors, inspection.fractions
    for class_id, entry in enumerate(class_map.classes):
        ids = f"  ids {', '.join(map(str, entry.label_ids))}" if entry.label_ids else ""
        numbers = f"{colors[class_id]} {fractions[class_id]:8.2%}{ids}"
        yield f"  {class_id:>4}  {entry.name:<{longest}}  {numbers}"
    ignored = inspection.pixels[IGNORE_INDEX] / max(1, inspection.pixels.sum())
    yield f"  {'ignored':<{longest + 6}}  {'':7} {ignored:8.2%}"


def _absent_classes(inspection: Inspection) -> list[str]:
    """Return a note about classes that occur in no mask of the sample, or about a single class."""
    if inspection.classes.known_as:
        return []
    names = inspection.classes.class_map.names
    if len(names) == 1:
        return ["unsure: there is only one class, so nothing is learned; are these the masks?"]
    absent = [names[i] for i in np.flatnonzero(inspection.pixels[: len(names)] == 0)]
    if not absent:
        return []
    others = len(absent) - _SHOWN_NAMES
    shown = ", ".join(absent[:_SHOWN_NAMES]) + (f" and {others} others" if others > 0 else "")
    return [
        f"unsure: no pixel of {shown} in {inspection.sample_text}; remove classes that do not occur"
    ]
