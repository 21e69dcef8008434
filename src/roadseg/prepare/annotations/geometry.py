"""Checks of untrusted coordinates, so that drawing them takes bounded time and memory."""

from collections.abc import Sequence
from itertools import pairwise

MAX_POINTS = 100_000
"""Limit on the points of a polygon."""
MAX_PERIMETER = 2_000_000
"""Limit on the perimeter of a polygon, pixels; pycocotools takes 100 bytes for each."""


def check_polygon(points: Sequence[float], height: int, width: int) -> None:
    """Check the flat list x, y, x, y, ... of a polygon's points. Raises ValueError."""
    if len(points) % 2:
        raise ValueError(f"{len(points)} coordinates, which are not pairs of x and y")
    if len(points) < 6:
        raise ValueError(f"a polygon needs at least 3 points, got {len(points) // 2}")
    if len(points) > 2 * MAX_POINTS:
        raise ValueError(f"{len(points) // 2:,} points; the limit is {MAX_POINTS:,}")
    xs, ys = points[::2], points[1::2]
    _check_range("x", min(xs), max(xs), width, "width")
    _check_range("y", min(ys), max(ys), height, "height")
    steps = zip(pairwise(xs), pairwise(ys), strict=True)
    perimeter = sum(max(abs(x1 - x0), abs(y1 - y0)) for (x0, x1), (y0, y1) in steps)
    if perimeter > MAX_PERIMETER:
        raise ValueError(f"a perimeter of {perimeter:,.0f} pixels; the limit is {MAX_PERIMETER:,}")


def check_box(box: Sequence[float], height: int, width: int) -> None:
    """Check left, top, right and bottom of a box. Raises ValueError."""
    left, top, right, bottom = box
    if right < left or bottom < top:
        raise ValueError(f"the box from {left:g}, {top:g} to {right:g}, {bottom:g} is reversed")
    _check_range("x", left, right, width, "width")
    _check_range("y", top, bottom, height, "height")


def _check_range(axis: str, low: float, high: float, size: int, name: str) -> None:
    for value in (low, high):
        if not -size <= value <= 2 * size:
            raise ValueError(
                f"{axis} = {value:g} is far outside of the image, which has a {name} of {size}"
            )
    if high < 0 or low > size:
        raise ValueError(
            f"lies outside of the image: {axis} is {low:g} to {high:g}, but the {name} is {size}"
        )
