"""Check that the palette images among masks of label ids agree about the color of each index."""

from collections.abc import Mapping
from pathlib import Path

from roadseg.config.class_map import Color
from roadseg.system.errors import InputError


class PaletteCheck:
    """Compares the palettes of masks, in which the index is the label id.

    Some programs renumber the palette of each image that they save. The masks still look alike, but
    an index is another class in each of them.
    """

    def __init__(self) -> None:
        self._first: dict[int, tuple[Color, Path]] = {}

    def add(self, path: Path, palette: Mapping[int, Color]) -> None:
        """Compare the indices that occur in the mask at `path` with those of earlier masks.

        Raises:
            InputError: an index has another color than in an earlier mask.
        """
        for index, color in palette.items():
            first_color, first_path = self._first.setdefault(index, (color, path))
            if color != first_color:
                raise InputError(
                    f"{path}: palette index {index} has the color {list(color)}, but in "
                    f"{first_path} {list(first_color)}, so it may be another class; set "
                    "data.mask_values: colors, or save all masks with one palette"
                )
