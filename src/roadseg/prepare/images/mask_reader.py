"""Read masks as class ids.

Shapes: H, W pixels.
"""

from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from roadseg.config.class_map import NUM_LABEL_IDS, ClassMap, Color
from roadseg.prepare.annotations.shapes import rasterize, read_shapes
from roadseg.prepare.images.color_table import ColorTable
from roadseg.prepare.images.masks import MaskEncoding, MaskPixels, read_mask
from roadseg.prepare.lut import count_values, look_up
from roadseg.system.errors import InputError


class Mask(NamedTuple):
    """A mask of class ids."""

    class_ids: np.ndarray
    """(H, W) uint8, class ids or IGNORE_INDEX."""
    num_approximate: int
    """Number of pixels whose color is not exactly one of the class map."""
    palette: dict[int, Color]
    """Color of each palette index that occurs, if the indices are label ids."""


class MaskReader:
    """Reads masks of one encoding; the methods may be called by several threads."""

    def __init__(self, class_map: ClassMap, encoding: MaskEncoding, max_pixels: int) -> None:
        self._class_map = class_map
        self._encoding = encoding
        self._max_pixels = max_pixels
        self._tables = {size: class_map.table(size) for size in (256, NUM_LABEL_IDS)}
        is_colors = encoding.values == "colors"
        self._colors = ColorTable(class_map, encoding.color_tolerance) if is_colors else None

    def read(self, path: Path) -> Mask:
        """Read a mask file, or draw the shapes of an annotation file.

        Raises:
            InputError: the mask is damaged, of an unsupported kind, or has an unknown value.
        """
        if path.suffix == ".json":
            return Mask(rasterize(read_shapes(path), self._class_map), 0, {})
        return self.decode(path, path)

    def decode(self, source: Path | IO[bytes], name: str | Path) -> Mask:
        """Read a mask file, which errors call `name`; as `read`, but no annotation file."""
        pixels = read_mask(source, name, self._max_pixels, self._encoding)
        if self._colors is None:
            return self._read_label_ids(name, pixels)
        if pixels.palette is None:
            return _read_colors(name, pixels.values, self._colors)
        return _read_palette(name, pixels.values, pixels.palette, self._colors)

    def _read_label_ids(self, name: str | Path, pixels: MaskPixels) -> Mask:
        label_ids = pixels.values if pixels.values.ndim == 2 else _gray_values(name, pixels.values)
        counts = count_values(label_ids)
        table, known = self._tables[counts.size]
        if (unknown := np.flatnonzero((counts > 0) & ~known)).size:
            label_id = int(unknown[0])
            raise InputError(
                f"{name}: label id {label_id} ({counts[label_id]} pixels) has no class; the first "
                f"is at {_position(label_ids == label_id)}; add the label id to the class map, or "
                "set unknown_label_ids there"
            )
        colors = {}
        if pixels.palette is not None and pixels.has_palette:
            colors = {int(i): _color(pixels.palette[i]) for i in np.flatnonzero(counts)}
        return Mask(look_up(label_ids, table), 0, colors)


def _read_colors(name: str | Path, pixels: np.ndarray, colors: ColorTable) -> Mask:
    class_ids, num_approximate, first = colors.look_up(pixels)
    if first >= 0:
        color = pixels.reshape(-1, pixels.shape[2])[first, :3]
        _raise_unknown_color(name, color, (pixels[:, :, :3] == color).all(axis=2), colors)
    return Mask(class_ids, num_approximate, {})


def _read_palette(
    name: str | Path, indices: np.ndarray, palette: np.ndarray, colors: ColorTable
) -> Mask:
    counts = count_values(indices)
    table, known, approximate = colors.palette_table(palette)
    if (unknown := np.flatnonzero((counts > 0) & ~known)).size:
        _raise_unknown_color(name, palette[unknown[0]], indices == unknown[0], colors)
    return Mask(look_up(indices, table), int(counts[approximate].sum()), {})


def _gray_values(name: str | Path, pixels: np.ndarray) -> np.ndarray:
    """Return the gray values of an RGB or RGBA image with R=G=B, (H, W) uint8."""
    red, green, blue = (pixels[:, :, channel] for channel in range(3))
    is_colored = (red != green) | (green != blue)
    if is_colored.any():
        color = list(_color(pixels.reshape(-1, pixels.shape[2])[is_colored.argmax()]))
        raise InputError(
            f"{name}: the pixel at {_position(is_colored)} has the color {color}, which is not a "
            "label id; if the masks have the colors of the class map, set data.mask_values: colors"
        )
    return red


def _raise_unknown_color(
    name: str | Path, color: np.ndarray, where: np.ndarray, colors: ColorTable
) -> None:
    nearest = colors.describe_nearest(_color(color))
    raise InputError(
        f"{name}: color {color.tolist()} ({where.sum()} pixels) has no class; the first is at "
        f"{_position(where)}; the nearest color is {nearest}; add the color to the class map, set "
        "unknown_label_ids there, or set data.color_tolerance if the mask is anti-aliased or "
        "compressed"
    )


def _position(where: np.ndarray) -> str:
    """Return the position of the first True value as text."""
    row, column = divmod(int(where.argmax()), where.shape[1])
    return f"row {row}, column {column}"


def _color(pixel: np.ndarray) -> Color:
    red, green, blue, *_ = pixel.tolist()
    return red, green, blue
