"""Read the polygons of a data set of unknown classes, and find the classes from their labels."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from roadseg.config.class_map import ClassMap
from roadseg.prepare.annotations.convert import MAX_BYTES, read_annotations
from roadseg.prepare.annotations.shapes import Shapes, rasterize
from roadseg.prepare.discovery.classes.class_tables import ClassTable
from roadseg.prepare.discovery.classes.classes import Classes, ClassMapDraft
from roadseg.prepare.discovery.classes.known_classes import voc_color
from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.layouts.layout import Layout
from roadseg.system.errors import InputError

_BACKGROUND = "background"
_ANY_SIZE = (1 << 16, 1 << 16)
_COVERED = 0.01
"""Shapes that leave a smaller fraction of the pixels free are meant to cover the image."""


class LabelStatistics(NamedTuple):
    """The labels of a data set with polygons, and the shapes of some images."""

    labels: Counter[str | int]
    """Number of shapes by label."""
    shapes: dict[str, Shapes]
    """By name of the image."""


def read_labels(
    files: DatasetFiles, layout: Layout, sample: Mapping[str, tuple[int, int]]
) -> LabelStatistics:
    """Read all annotation files, and keep the shapes of some images.

    Args:
        sample: (height, width) of the images whose shapes are kept, by name.

    Raises:
        InputError: names the file, and the image or annotation.
    """
    images: dict[str, list[str]] = {}
    for pair in layout.pairs:
        images.setdefault(pair.mask, []).append(pair.image)
    found = LabelStatistics(Counter(), {})
    for mask in images:
        if (size := files.size(mask)) > MAX_BYTES:
            raise InputError(f"{mask}: {size:,} bytes; the limit is {MAX_BYTES:,}")

    def image_size(image: str) -> tuple[int, int]:
        return sample.get(image, _ANY_SIZE)  # the shapes of other images are not kept

    for mask, data in files.read_each(images):
        for image, source, annotated in read_annotations(data, mask, images[mask], image_size):
            found.labels.update(shape.label for shape in annotated.shapes)
            if image in sample:
                found.shapes[image] = Shapes(
                    source=source,
                    height=annotated.height,
                    width=annotated.width,
                    shapes=list(annotated.shapes),
                )
    return found


def find_label_classes(statistics: LabelStatistics, table: ClassTable | None) -> Classes:
    """Find the classes of polygons from their labels.

    Text labels are sorted. Pixels without a shape are a class of their own, unless there are hardly
    any.

    Args:
        table: names of the label ids in YOLO's files.

    Raises:
        InputError: there are more labels than a class map has classes, or none.
    """
    draft = ClassMapDraft()
    texts = sorted(label for label in statistics.labels if isinstance(label, str))
    found = (text for text in texts if text.strip("_").casefold() == _BACKGROUND)
    background = next(found, None)
    if background is None:
        background = _BACKGROUND
        draft.add(background, voc_color(0))
    for label_id, name in _names(statistics.labels, table, draft.notes).items():
        draft.add(name, voc_color(len(draft.classes)), label_ids=[label_id])
    for text in texts:
        draft.add(text, voc_color(len(draft.classes)))
    class_map = draft.build(background)
    free = _free_fraction(statistics.shapes.values(), class_map)
    if free < _COVERED and background == _BACKGROUND and _BACKGROUND not in texts:
        del draft.classes[0]
        class_map = draft.build("ignore")
        draft.notes.append(f"pixels without a shape are ignored ({free:.1%} of all)")
    else:
        draft.notes.append(f"pixels without a shape are the class {background} ({free:.0%} of all)")
    return Classes(class_map=class_map, encoding="polygons", notes=tuple(draft.notes))


def _names(
    labels: Iterable[str | int], table: ClassTable | None, notes: list[str]
) -> dict[int, str]:
    """Return the names of label ids, sorted: those of the table, and class_N for others."""
    names = {i: entry.name for i, entry in (table.by_label_id() if table else {}).items()}
    unnamed = sorted(label for label in labels if isinstance(label, int) and label not in names)
    if unnamed:
        notes.append(f"unsure: label id {unnamed[0]} has no name; rename class_{unnamed[0]}")
    names |= {label_id: f"class_{label_id}" for label_id in unnamed}
    return dict(sorted(names.items()))


def _free_fraction(shapes: Iterable[Shapes], class_map: ClassMap) -> float:
    """Return the fraction of the pixels, 0..1, that are the background of the class map."""
    masks = [rasterize(entry, class_map) for entry in shapes]
    free = sum(np.count_nonzero(mask == class_map.background_class_id) for mask in masks)
    return free / max(1, sum(mask.size for mask in masks))
