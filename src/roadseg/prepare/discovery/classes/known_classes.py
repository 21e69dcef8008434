"""Class names and colors of public data sets whose files do not contain them."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from roadseg.config.class_map import ClassMap, Color, read_class_map

VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""Names of Pascal VOC's label ids 0 to 20."""
_CLASS_MAPS = {
    r"training/semantic/\d+_\d+\.png$": "kitti12",
    r"_gt(Fine|Coarse)_labelIds\.png$": "cityscapes19",
    r"annot/(0001TP|0006R0|0016E5|Seq05VD)_[^/]+\.png$": "camvid11",
}
"""Name of a class map of this project by a regular expression for the name of a mask."""


def voc_color(index: int) -> Color:
    """Color of a label id in Pascal VOC's palette; distinct colors for 0 to 255.

    The bits of the index are dealt to red, green and blue, from the highest bit of the channels.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    red, green, blue = channels
    return red, green, blue


def find_known_class_map(
    mask: str, label_ids: Collection[int], folder: Path
) -> tuple[str, ClassMap] | None:
    """Find the class map in `folder` that is known to fit a public data set.

    The data set is recognized by the name of any mask; a class map without one of its label ids
    does not fit. Returns the name and the class map, or None.
    """
    for expression, name in _CLASS_MAPS.items():
        path = folder / f"{name}.yaml"
        if re.search(expression, mask) and path.is_file():
            class_map = read_class_map(path)
            _, known = class_map.table(1 << 16)
            if all(known[label_id] for label_id in label_ids):
                return name, class_map
    return None


def is_voc(mask: str, palette: Mapping[int, Color]) -> bool:
    """True for masks in Pascal VOC's directory whose label ids and palette are those of VOC."""
    fits = all(color == voc_color(index) for index, color in palette.items() if index != 255)
    known = palette.keys() <= {*range(len(VOC_NAMES)), 255}
    return "SegmentationClass/" in mask and fits and known
