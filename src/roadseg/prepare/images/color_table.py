"""Class ids of the colors of painted masks.

Shapes: H, W pixels; C known colors.
"""

import numpy as np

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, Color
from roadseg.prepare.lut import IS_APPROXIMATE, IS_SET, IS_UNKNOWN, look_up_colors


class ColorTable:
    """Lookup table from all 2**24 colors to class ids.

    The distance of two colors is their largest difference in a channel (Chebyshev). A color belongs
    to the nearest color of the class map within the tolerance, to the first of them if several are
    equally near, and otherwise is unknown.
    """

    def __init__(self, class_map: ClassMap, tolerance: int) -> None:
        self._class_map = class_map
        self._tolerance = tolerance
        class_ids = class_map.color_class_ids()
        self._colors = np.array(list(class_ids), dtype=np.uint8)
        self._class_ids = np.array(list(class_ids.values()), dtype=np.uint8)
        unknown = class_map.unknown_class_id
        self._unknown = IS_SET | (IS_UNKNOWN if unknown is None else unknown)
        self._entries = np.zeros(1 << 24, dtype=np.uint16)

    def look_up(self, pixels: np.ndarray) -> tuple[np.ndarray, int, int]:
        """Map colors, (H, W, 3 or 4) uint8, to class ids.

        Returns:
            (H, W) uint8 class ids, the number of pixels whose color is only near to a known one,
            and the index of the first pixel of unknown color or -1.
        """
        return look_up_colors(
            pixels, self._entries, self._colors, self._class_ids, self._tolerance, self._unknown
        )

    def palette_table(self, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Build the lookup table from palette indices to class ids.

        Args:
            palette: (256, 3) uint8.

        Returns:
            (256,) uint8 class ids, (256,) bool known, (256,) bool approximate.
        """
        class_ids, _, _ = self.look_up(palette[:, None])
        red, green, blue = palette.T.astype(np.int64)
        entries = self._entries[red << 16 | green << 8 | blue]
        return class_ids.reshape(-1), entries & IS_UNKNOWN == 0, entries & IS_APPROXIMATE != 0

    def describe_nearest(self, color: Color) -> str:
        """Describe the known color that is nearest to `color`, with its class and distance."""
        distances = np.abs(self._colors.astype(int) - color).max(axis=1)
        nearest = int(distances.argmin())
        class_id = int(self._class_ids[nearest])
        name = "ignored" if class_id == IGNORE_INDEX else self._class_map.names[class_id]
        return f"{name} {self._colors[nearest].tolist()} at distance {distances[nearest]}"
