"""A thing that stands in the scene."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.shadows import Footprint

Draw = Callable[[Canvas, np.random.Generator], None]


@dataclass(frozen=True)
class SceneObject:
    depth: float  # metres; things are drawn from the farthest to the nearest
    draw: Draw
    footprint: Footprint | None = None


def upright(x: float, z: float, draw: Draw, width: float, height: float) -> SceneObject:
    """Return a thing that stands on a spot of `width` metres."""
    half = width / 2
    return SceneObject(z, draw, Footprint(x - half, x + half, z - half, z + half, 0.0, height))
