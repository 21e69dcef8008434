"""Find the layout of a dataset: the file patterns of its images and masks, and its splits."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from roadseg.prepare.discovery.files import DatasetFiles


class Pair(NamedTuple):
    """An image with its mask; both names are keys of `DatasetFiles.read`."""

    image_id: str
    """As the pipeline forms it from the patterns."""
    image: str
    mask: str
    """A mask, or the annotation file that describes the image; many images may share one."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything that the names of the files tell about a dataset."""

    images: str
    """data.images: pattern of the images with masks."""
    masks: str
    """data.masks: pattern of the masks or annotation files."""
    test_images: str | None
    """data.test_images: pattern of the images that are only rendered."""
    unmasked: Literal["error", "skip"]
    """data.unmasked: skip if `images` matches images without a mask."""
    val_ids: str | tuple[str, ...] | None
    """split.val_ids: a regular expression, the ids themselves, or None without predefined split."""
    group_by: str | None
    """split.group_by: a regular expression with one group; None with a predefined split."""
    kind: Literal["ids", "colors", "coco", "cvat", "labelme", "yolo"]
    """Content of the masks: label ids, colors, or the format of the annotation files."""
    pairs: tuple[Pair, ...]
    """The images with masks, sorted by id."""
    test_names: tuple[str, ...]
    """The files that `test_images` matches, sorted."""
    sizes: tuple[tuple[int, int], ...]
    """(height, width) in pixels of some images, for `suggest_scale`."""
    notes: tuple[str, ...]
    """Sentences for the user; those that begin with `unsure: ` need a decision or a look."""


def discover_layout(
    files: DatasetFiles, *, images: str | None = None, masks: str | None = None
) -> Layout:
    """Find the images and masks among `files`, and how they are paired and split.

    Args:
        files: the dataset.
        images: pattern of the images, if the user knows it; None: it is found.
        masks: pattern of the masks, if the user knows it; None: it is found.

    Raises:
        InputError: says what was found, what is missing and which option supplies it.
    """
    raise NotImplementedError
