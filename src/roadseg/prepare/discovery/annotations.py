"""Read the polygons of a data set of unknown classes, and find the classes from their labels."""

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from roadseg.config.class_map import ClassMap
from roadseg.prepare.annotations.coco import read_coco
from roadseg.prepare.annotations.cvat import read_cvat
from roadseg.prepare.annotations.labelme import read_labelme
from roadseg.prepare.annotations.records import AnnotatedImage, normalize
from roadseg.prepare.annotations.shapes import Shapes, rasterize
from roadseg.prepare.annotations.yolo import read_yolo
from roadseg.prepare.decoding import open_image, upright_size
from roadseg.prepare.discovery.class_tables import ClassTable
from roadseg.prepare.discovery.classes import Classes, ClassMapDraft
from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.known_classes import voc_color
from roadseg.prepare.discovery.layout import Layout

_BACKGROUND = "background"
_COVERED = 0.01
"""Shapes that leave a smaller fraction of the pixels free are meant to cover the image."""


class Annotations(NamedTuple):
    """The labels of a data set with polygons, and the shapes of some images."""

    labels: Counter[str | int]
    """Number of shapes by label."""
    shapes: dict[str, Shapes]
    """By image id."""


def read_annotations(
    files: DatasetFiles, layout: Layout, sample: Collection[str], max_pixels: int
) -> Annotations:
    """Read all annotation files, and keep the shapes of the images in `sample`.

    Args:
        sample: image ids.
        max_pixels: a larger image is refused.

    Raises:
        InputError: names the file, and the image or annotation.
    """
    found = Annotations(Counter(), {})
    for image_id, mask, annotated in _read_images(files, layout, max_pixels):
        found.labels.update(shape.label for shape in annotated.shapes)
        if image_id in sample:
            found.shapes[image_id] = Shapes.model_construct(
                source=mask,
                height=annotated.height,
                width=annotated.width,
                shapes=list(annotated.shapes),
            )
    return found


def _read_images(
    files: DatasetFiles, layout: Layout, max_pixels: int
) -> Iterator[tuple[str, str, AnnotatedImage]]:
    """Yield image id, annotation file and annotations of each pair."""
    ids = {(pair.mask, PurePosixPath(pair.image).name): pair.image_id for pair in layout.pairs}
    images = {pair.mask: pair.image for pair in layout.pairs}
    for mask, data in files.read_each(images):
        if layout.kind in ("coco", "cvat"):
            reader = read_coco if layout.kind == "coco" else read_cvat
            for annotated in reader(data, mask):
                name = PurePosixPath(normalize(annotated.file_name).replace("\\", "/")).name
                if image_id := ids.get((mask, name)):
                    yield image_id, mask, annotated
            continue
        image = images[mask]
        with open_image(io.BytesIO(files.read(image)), image, max_pixels) as opened:
            size = upright_size(opened)
        read = read_labelme if layout.kind == "labelme" else read_yolo
        yield ids[mask, PurePosixPath(image).name], mask, read(data, mask, *size)


def find_label_classes(annotations: Annotations, table: ClassTable | None) -> Classes:
    """Find the classes of polygons from their labels.

    Text labels are sorted. Pixels without a shape are a class of their own, unless there are hardly
    any.

    Args:
        table: names of the label ids in YOLO's files.

    Raises:
        InputError: there are more labels than a class map has classes, or none.
    """
    draft = ClassMapDraft()
    texts = sorted(label for label in annotations.labels if isinstance(label, str))
    background = next((text for text in texts if _is_background(text)), None)
    if background is None:
        background = _BACKGROUND
        draft.add(background, voc_color(0))
    for label_id, name in _names(annotations.labels, table, draft.notes).items():
        draft.add(name, voc_color(len(draft.classes)), label_ids=[label_id])
    for text in texts:
        draft.add(text, voc_color(len(draft.classes)))
    class_map = draft.build(background)
    free = _free_fraction(annotations.shapes.values(), class_map)
    if free < _COVERED and background == _BACKGROUND and _BACKGROUND not in texts:
        del draft.classes[0]
        class_map = draft.build("ignore")
        draft.notes.append(f"unsure: pixels without a shape are ignored ({free:.1%} of all)")
    else:
        draft.notes.append(f"pixels without a shape are the class {background} ({free:.0%} of all)")
    return Classes(class_map=class_map, encoding="polygons", notes=tuple(draft.notes))


def _is_background(label: str) -> bool:
    return label.strip("_").casefold() == _BACKGROUND


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
