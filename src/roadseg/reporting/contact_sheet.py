"""Contact sheet of a data set: some images with their masks in the colors of the classes."""

from collections.abc import Sequence
from pathlib import Path

from roadseg.config.class_map import ClassMap
from roadseg.inference.colors import colorize, overlay
from roadseg.prepare.discovery.inspection import Example
from roadseg.reporting.figures import ImageRow, save_image_grid


def save_contact_sheet(
    path: Path, title: str, examples: Sequence[Example], class_map: ClassMap
) -> None:
    """Plot image, mask and overlay of each example, and a legend of the classes, as PNG."""
    rows = [
        ImageRow(
            {
                "image": image,
                "mask": colorize(class_ids, class_map.colors),
                "overlay": overlay(image, class_ids, class_map.colors),
            },
            image_id,
        )
        for image_id, _, image, class_ids in examples
    ]
    save_image_grid(path, title, rows, class_map)
