"""Convert the annotation files of a data set to one normalized file of shapes per image."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from tqdm import tqdm

from roadseg.prepare.annotations.coco import read_coco
from roadseg.prepare.annotations.cvat import read_cvat
from roadseg.prepare.annotations.labelme import read_labelme
from roadseg.prepare.annotations.records import AnnotatedImage, normalize
from roadseg.prepare.annotations.shapes import Shapes, write_shapes
from roadseg.prepare.annotations.yolo import read_yolo
from roadseg.prepare.images.decoding import open_image, upright_size
from roadseg.system.errors import InputError

MAX_BYTES = 512 << 20
"""Limit on the size of an annotation file; COCO train2017 has 448 MB."""
_LABELME = re.compile(rb'"shapes"\s*:')


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file, and the images that it may describe."""

    path: Path
    """COCO or LabelMe (.json), YOLO (.txt) or CVAT (.xml)."""
    name: str
    """Its name in the user's data set, for error messages."""
    images: Mapping[str, Path]
    """Name in the user's data set -> path. LabelMe and YOLO describe exactly one image."""


def convert_annotations(
    files: Sequence[AnnotationFile], out: Path, max_pixels: int
) -> dict[str, str]:
    """Write ID.json to the directory `out` for each image ID.png or ID.jpg with annotations.

    Returns:
        name of each written file -> the annotation file, and the image in it.

    Raises:
        InputError: names the annotation file, and the image or annotation.
    """
    sources: dict[str, str] = {}
    count = len({image for file in files for image in file.images})
    with tqdm(total=count, desc="convert", unit="image", disable=None) as progress:
        for file in files:
            if (num_bytes := file.path.stat().st_size) > MAX_BYTES:
                raise InputError(f"{file.name}: {num_bytes:,} bytes; the limit is {MAX_BYTES:,}")
            image_size = partial(_image_size, file.images, max_pixels)
            data = file.path.read_bytes()
            for image, source, annotated in read_annotations(
                data, file.name, file.images, image_size
            ):
                target = f"{file.images[image].stem}.json"
                if target in sources:
                    raise InputError(f"{source} and {sources[target]} are the same image")
                shapes = Shapes(
                    source=source,
                    height=annotated.height,
                    width=annotated.width,
                    shapes=list(annotated.shapes),
                )
                write_shapes(out / target, shapes)
                sources[target] = source
                progress.update()
    return sources


def _image_size(images: Mapping[str, Path], max_pixels: int, name: str) -> tuple[int, int]:
    with open_image(images[name], name, max_pixels) as image:
        return upright_size(image)


def read_annotations(
    data: bytes, name: str, images: Collection[str], image_size: Callable[[str], tuple[int, int]]
) -> Iterator[tuple[str, str, AnnotatedImage]]:
    """Yield each image, the annotation file with the image in it, and its shapes.

    Args:
        data: content of the annotation file.
        name: its name in the user's data set.
        images: names of the images that it may describe; LabelMe and YOLO describe exactly one.
        image_size: returns (height, width) of one of `images`; only called for LabelMe and YOLO.

    Raises:
        InputError: names the annotation file, and the image or annotation.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix == ".txt" or (suffix == ".json" and _LABELME.search(data)):
        if len(images) != 1:
            raise InputError(
                f"{name}: describes one image, but data.masks matches it with {len(images)}; use "
                "the fields of data.images in data.masks"
            )
        (image,) = images
        read_one = read_yolo if suffix == ".txt" else read_labelme
        yield image, name, read_one(data, name, *image_size(image))
        return
    read_many = read_cvat if suffix == ".xml" else read_coco
    yield from _match(name, images, read_many(data, name))


def _match(
    file: str, images: Collection[str], records: Iterable[AnnotatedImage]
) -> Iterator[tuple[str, str, AnnotatedImage]]:
    """Find the image of each record: its name is the end of the image's path."""
    by_name = {normalize(name): name for name in images}
    by_end: dict[str, list[str]] = {}
    for name in by_name:
        parts = name.split("/")
        for i in range(1, len(parts)):
            by_end.setdefault("/".join(parts[i:]), []).append(name)
    unknown: list[str] = []
    for record in records:
        source = f"{file}: image {record.file_name!r}"
        name = _require_relative(record.file_name, source)
        matches = [name] if name in by_name else by_end.get(name, [])
        if len(matches) > 1:
            raise InputError(f"{source} may be {matches[0]} or {matches[1]}; add its directory")
        if matches:
            yield by_name[matches[0]], source, record
        else:
            unknown.append(record.file_name)
    if unknown:
        raise InputError(
            f"{file}: {len(unknown)} of its images are not among the {len(images)} that match "
            f"data.images, the first is {unknown[0]!r}; add these files, or remove their entries"
        )


def _require_relative(name: str, source: str) -> str:
    """Return `name` in NFC with slashes; raise InputError if it may leave the data set."""
    plain = normalize(name.replace("\\", "/"))
    if plain.startswith("/") or re.match("[A-Za-z]:/", plain) or ".." in plain.split("/"):
        raise InputError(f"{source} is a path outside of the data set; do not trust the file")
    return plain.removeprefix("./")
