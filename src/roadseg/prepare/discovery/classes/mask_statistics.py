"""Values in a sample of masks: label ids, colors and palettes, with their numbers of pixels.

Shapes: H, W pixels.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from roadseg.config.class_map import Color
from roadseg.prepare.images.masks import MaskPixels
from roadseg.system.errors import InputError

_MAX_COLORS = 1 << 18
"""Colors in one mask; JPEG-compressed masks have some thousands."""
_Value = TypeVar("_Value", int, Color)


@dataclass
class ValueCounts(Generic[_Value]):
    """Pixels of each value in a sample of masks."""

    pixels: Counter[_Value] = field(default_factory=Counter)
    largest_fractions: dict[_Value, float] = field(default_factory=dict)
    """Largest fraction of one mask that each value covers, 0..1."""

    def add(self, counts: Iterable[tuple[_Value, int]], num_pixels: int) -> None:
        """Add the counts of a mask of `num_pixels` pixels."""
        for value, count in counts:
            self.pixels[value] += count
            largest = self.largest_fractions.get(value, 0.0)
            self.largest_fractions[value] = max(largest, count / num_pixels)


@dataclass
class MaskStatistics:
    """Values in a sample of masks."""

    num_painted: int = 0
    """Masks in color, other than by a palette."""
    num_gray: int = 0
    """Masks of one channel without a palette."""
    ids: ValueCounts[int] = field(default_factory=ValueCounts)
    """Values of masks in gray, and indices of those with a palette."""
    colors: ValueCounts[Color] = field(default_factory=ValueCounts)
    """Colors of masks of 8 bits."""
    palette: dict[int, set[Color]] = field(default_factory=dict)
    """Colors of each palette index that occurs; several if the masks have several palettes."""

    def add(self, name: str, mask: MaskPixels) -> None:
        """Add the pixels of the file `name`.

        Raises:
            InputError: the mask has too many colors.
        """
        num_pixels = mask.values.shape[0] * mask.values.shape[1]
        if mask.values.ndim == 3:
            self._add_colors(name, mask.values, num_pixels)
            return
        counts = np.bincount(mask.values.reshape(-1))
        ids = [(int(label_id), int(counts[label_id])) for label_id in np.flatnonzero(counts)]
        self.ids.add(ids, num_pixels)
        self.num_gray += not mask.has_palette
        if mask.palette is None:
            return
        by_color: Counter[Color] = Counter()
        for label_id, count in ids:
            color = _color(mask.palette[label_id])
            by_color[color] += count
            if mask.has_palette:
                self.palette.setdefault(label_id, set()).add(color)
        self.colors.add(by_color.items(), num_pixels)

    def _add_colors(self, name: str, values: np.ndarray, num_pixels: int) -> None:
        found = Image.fromarray(values[:, :, :3]).getcolors(_MAX_COLORS)
        if found is None:
            raise InputError(f"{name}: more than {_MAX_COLORS:,} colors; is it a photograph?")
        by_color = {_color(color): count for count, color in found}
        self.colors.add(by_color.items(), num_pixels)
        if all(red == green == blue for red, green, blue in by_color):
            self.ids.add(((red, n) for (red, _, _), n in by_color.items()), num_pixels)
        else:
            self.num_painted += 1


def _color(channels: Any) -> Color:
    red, green, blue = map(int, channels)
    return red, green, blue
