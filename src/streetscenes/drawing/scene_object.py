"""Objects of a scene."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.shadows import Footprint

Draw = Callable[[Canvas, np.random.Generator], None]


@dataclass(frozen=True)
class SceneObject:
    """A function that draws an object, the depth that decides when, and its shadow's shape."""

    depth: float  # meters; objects are drawn from the farthest to the nearest
    draw: Draw
    footprint: Footprint | None = None


def upright_object(x: float, z: float, draw: Draw, width: float, height: float) -> SceneObject:
    """Return an object whose footprint is a square of `width` meters."""
    half = width / 2
    return SceneObject(z, draw, Footprint(x - half, x + half, z - half, z + half, 0.0, height))
