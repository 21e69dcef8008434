"""Class frequencies of the prepared masks."""

from collections.abc import Sequence

import numpy as np

from roadseg.config.class_map import ClassMap


def class_frequency(class_map: ClassMap, pixels: np.ndarray) -> dict[str, Sequence]:
    """Pixels of each class, and their share of the pixels that count.

    Args:
        pixels: (256,) int, pixels of each class id.

    Returns:
        Columns class, pixels, share (0..1), color (#rrggbb), in class order.
    """
    counted = pixels[: class_map.num_classes]
    share = counted / max(1, counted.sum())
    rows = {"class": class_map.names, "pixels": counted, "share": share}
    return {**rows, "color": class_map.hex_colors}
