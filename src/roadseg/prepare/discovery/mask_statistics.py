"""Values in a sample of masks: label ids, colors and palettes, with their numbers of pixels.

Shapes: H, W pixels.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from roadseg.config.class_map import Color
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
        """Add a mask of `num_pixels` pixels."""
        for value, count in counts:
            self.pixels[value] += count
            largest = self.largest_fractions.get(value, 0.0)
            self.largest_fractions[value] = max(largest, count / num_pixels)


@dataclass
class MaskStatistics:
    """Values in a sample of masks."""

    num_masks: int = 0
    num_painted: int = 0
    """Masks in color, other than by a palette."""
    ids: ValueCounts[int] = field(default_factory=ValueCounts)
    """Values of masks in gray, and indices of those with a palette."""
    colors: ValueCounts[Color] = field(default_factory=ValueCounts)
    """Colors of all masks."""
    palette: dict[int, set[Color]] = field(default_factory=dict)
    """Colors of each palette index that occurs; several if the masks have several palettes."""

    def add(self, name: str, image: Image.Image) -> None:
        """Add the mask `image` of the file `name`."""
        self.num_masks += 1
        num_pixels = image.width * image.height
        if image.mode in ("L", "I;16", "P"):
            values = np.bincount(np.asarray(image).reshape(-1))
            counts = [(int(i), int(values[i])) for i in np.flatnonzero(values)]
            self.ids.add(counts, num_pixels)
            colors = _palette_colors(image)
            for index, _ in counts if image.mode == "P" else ():
                self.palette.setdefault(index, set()).add(colors[index])
            by_color = Counter[Color]()
            for index, count in counts:
                by_color[colors.get(index, (index,) * 3)] += count
            self.colors.add(by_color.items(), num_pixels)
            return
        found = image.convert("RGB").getcolors(_MAX_COLORS)
        if found is None:
            raise InputError(f"{name}: more than {_MAX_COLORS:,} colors; is it a photograph?")
        by_color = Counter({_color(color): count for count, color in found})
        self.colors.add(by_color.items(), num_pixels)
        if all(red == green == blue for red, green, blue in by_color):
            self.ids.add(((red, n) for (red, _, _), n in by_color.items()), num_pixels)
        else:
            self.num_painted += 1


def _color(channels: object) -> Color:
    """Narrow the type of a pixel of an RGB image."""
    assert isinstance(channels, tuple)
    red, green, blue = channels
    return red, green, blue


def _palette_colors(image: Image.Image) -> dict[int, Color]:
    """Return the colors of a palette image by index; empty for other images."""
    if image.mode != "P":
        return {}
    flat = image.getpalette("RGB") or []
    return {i: (flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]) for i in range(len(flat) // 3)}
