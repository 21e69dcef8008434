"""Reader of COCO JSON (https://cocodataset.org/#format-data): polygons, run-length encodings.

Annotations are drawn in the order of the file; crowds (`iscrowd`) are drawn like other annotations.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator

from roadseg.config.schema import validate
from roadseg.prepare.annotations.records import (
    AnnotatedImage,
    ImageRecord,
    Record,
    normalize,
    read_json_object,
)
from roadseg.prepare.annotations.run_lengths import decode_counts
from roadseg.prepare.annotations.shapes import Regions, Runs, Shape, build_shape
from roadseg.system.errors import InputError

_Id = int | str
_Points = Annotated[list[float], AfterValidator(lambda points: array("d", points))]


class _Image(ImageRecord):
    id: _Id


class _Category(Record):
    id: int
    name: str | None = None


class _RunLengths(Record):
    size: list[int]
    counts: str | list[int]


class _Annotation(Record):
    id: _Id | None = None
    image_id: _Id
    category_id: int
    segmentation: list[_Points] | _RunLengths


class _File(Record):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def read_coco(data: bytes, name: str) -> Iterator[AnnotatedImage]:
    """Yield the images of a COCO file with their shapes, in the order of the file.

    The labels are names of categories, or the ids of those without a name.

    Args:
        name: the file, for error messages.

    Raises:
        InputError: names the file, and the image or annotation.
    """
    file = _parse(data, name)
    labels: dict[int, int | str] = {
        category.id: category.id if category.name is None else normalize(category.name)
        for category in file.categories
    }
    image_ids = {image.id for image in file.images}
    if len(image_ids) < len(file.images) or len(labels) < len(file.categories):
        raise InputError(f"{name}: two images or two categories have the same id")
    annotations = defaultdict(list)
    for annotation in file.annotations:
        where = f"{name}: annotation {annotation.id!r}"
        if annotation.image_id not in image_ids:
            raise InputError(f"{where}: no image has the id {annotation.image_id!r}")
        if annotation.category_id not in labels:
            raise InputError(f"{where}: no category has the id {annotation.category_id!r}")
        annotations[annotation.image_id].append(annotation)
    for image in file.images:
        shapes = [
            _build_shape(entry, labels[entry.category_id], (image.height, image.width), name)
            for entry in annotations.pop(image.id, ())
        ]
        yield AnnotatedImage(image.file_name, image.height, image.width, shapes)


def _parse(data: bytes, name: str) -> _File:
    def convert(value: dict[str, Any]) -> Any:
        # at once, because a list of Python's floats takes four times the memory of an array
        if "image_id" not in value:
            return value
        where = f"{name}: annotation {value.get('id')!r}"
        if not value.get("segmentation"):
            raise InputError(f"{where} has no segmentation, only a box or key points")
        try:
            return validate(_Annotation, value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    value = read_json_object(data, name, convert)
    try:
        return validate(_File, value)
    except InputError as error:
        raise InputError(f"{name}: neither COCO nor LabelMe: {error}") from None


def _build_shape(
    annotation: _Annotation, label: int | str, size: tuple[int, int], name: str
) -> Shape:
    where = f"{name}: annotation {annotation.id!r}"
    found = annotation.segmentation
    if isinstance(found, list):
        polygons = [list(points) for points in found]
        return build_shape(Regions, where, size, label=label, polygons=polygons)
    if found.size != list(size):
        raise InputError(f"{where}: the mask has the size {found.size}, the image {list(size)}")
    try:
        counts = decode_counts(found.counts) if isinstance(found.counts, str) else found.counts
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    box = [0, 0, size[1], size[0]]
    return build_shape(Runs, where, size, label=label, box=box, counts=counts, order="F")
