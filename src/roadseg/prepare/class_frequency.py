"""Class frequencies of the prepared masks."""

from collections.abc import Sequence

import numpy as np

from roadseg.config.class_map import ClassMap


def class_frequency(class_map: ClassMap, pixels: np.ndarray) -> dict[str, Sequence[object]]:
    """Count the pixels of each class, without ignored pixels.

    Args:
        pixels: (256,) int, number of pixels by class id.

    Returns:
        Columns class, pixels, share (fraction of all classes, 0..1), color (#rrggbb).
    """
    counted = pixels[: class_map.num_classes]
    share = counted / max(1, counted.sum())
    rows = {"class": class_map.names, "pixels": counted, "share": share}
    return {**rows, "color": class_map.hex_colors}
