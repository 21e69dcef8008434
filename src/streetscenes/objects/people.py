"""Pedestrians."""

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas, Pixels, Plate
from streetscenes.drawing.light import Color, vary

SKINS: tuple[Color, ...] = ((224, 180, 150), (205, 155, 125), (165, 115, 85), (105, 72, 55))
HAIRS: tuple[Color, ...] = ((40, 32, 28), (75, 52, 36), (130, 95, 55), (150, 145, 140))
TOPS: tuple[Color, ...] = (
    (45, 48, 55), (70, 78, 95), (150, 40, 45), (190, 188, 182), (50, 80, 125), (95, 105, 80),
    (200, 150, 70), (120, 85, 110), (35, 35, 38), (215, 210, 200), (60, 110, 115),
)  # fmt: skip
TROUSERS: tuple[Color, ...] = (
    (42, 52, 78), (35, 36, 42), (95, 88, 76), (70, 76, 90), (140, 128, 108), (28, 28, 34),
)  # fmt: skip


def pick(rng: np.random.Generator, colors: tuple[Color, ...], spread: float = 0.15) -> Color:
    """Choose one of the colors and vary it by `spread`."""
    return vary(rng, colors[rng.integers(len(colors))], spread)


def draw_person(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw a pedestrian, seen from the side, the front or the back."""
    person = _Figure(canvas.plate(x, z), rng)
    if rng.random() < 0.55:
        person.walk_across()
    else:
        person.walk_along()


class _Figure:
    """One pedestrian; lengths are those of an adult of 1.75 m, scaled by `_height`."""

    def __init__(self, plate: Plate, rng: np.random.Generator) -> None:
        self._plate = plate
        child = rng.random() < 0.1
        self._height = (rng.uniform(1.15, 1.4) if child else rng.normal(1.73, 0.08)) / 1.75
        self._stout = rng.uniform(0.92, 1.25)
        self._skin = pick(rng, SKINS)
        self._hair = pick(rng, HAIRS)
        self._top = pick(rng, TOPS)
        self._legs = pick(rng, TROUSERS)
        self._stride = rng.uniform(0.05, 0.3)
        self._side = 1.0 if rng.random() < 0.5 else -1.0
        self._bag = rng.random() < 0.35
        self._bag_color = pick(rng, TOPS, 0.3)
        self._coat = rng.uniform(0.5, 0.62) if rng.random() < 0.3 else 0.82
        self._bare_arms = rng.random() < 0.3
        self._from_behind = rng.random() < 0.5

    def _polygon(self, outline: Pixels, color: Color, shade: float = 1.0) -> None:
        k, w = self._height, self._height * self._side
        self._plate.polygon([(a * w, b * k) for a, b in outline], color, pixel_tags.PERSON, shade)

    def _limb(self, line: Pixels, width: float, color: Color, shade: float = 1.0) -> None:
        k, w = self._height, self._height * self._side
        points = [(a * w, b * k) for a, b in line]
        self._plate.limb(points, width * self._stout * k, color, pixel_tags.PERSON, shade)

    def _oval(self, a: float, b: float, ra: float, rb: float, color: Color) -> None:
        k = self._height
        self._plate.ellipse(a * k * self._side, b * k, ra * k, rb * k, color, pixel_tags.PERSON)

    def walk_across(self) -> None:
        """Draw the figure from its side, in the middle of a step."""
        step, w = self._stride, self._stout
        arms = self._skin if self._bare_arms else self._top
        self._limb([(0, 1.38), (step * 0.7, 1.08), (step + 0.12, 0.88)], 0.09, arms, 0.65)
        self._limb([(0.0, 0.88), (-step * 0.4, 0.48), (-step - 0.1, 0.06)], 0.14, self._legs, 0.7)
        self._limb([(-step - 0.12, 0.04), (-step + 0.08, 0.03)], 0.08, (38, 34, 32))
        self._limb([(0.0, 0.88), (step * 0.75, 0.48), (step, 0.06)], 0.15, self._legs)
        self._limb([(step - 0.05, 0.04), (step + 0.18, 0.03)], 0.08, (48, 42, 38))
        if self._bag:
            self._polygon(
                [(-0.1, 0.98), (-0.32, 1.0), (-0.34, 1.38), (-0.1, 1.44)], self._bag_color
            )
        torso = [(-0.14 * w, self._coat), (0.15 * w, self._coat), (0.16 * w, 1.2), (0.1, 1.46)]
        self._polygon([*torso, (-0.09, 1.47), (-0.16 * w, 1.25)], self._top)
        shadow = [(-0.14 * w, self._coat), (-0.03, self._coat), (-0.04, 1.45), (-0.15 * w, 1.25)]
        self._polygon(shadow, self._top, 0.78)
        self._limb([(0.0, 1.4), (-step * 0.6, 1.1), (-step * 0.5 + 0.06, 0.86)], 0.1, arms, 0.88)
        self._draw_head(0.03)

    def walk_along(self) -> None:
        """Draw the figure from the front or from behind."""
        w, step = self._stout, self._stride * 0.35
        arms = self._skin if self._bare_arms else self._top
        self._limb([(0.09, 0.88), (0.1, 0.48 + step), (0.1, 0.07 + step)], 0.15, self._legs, 0.75)
        self._limb([(-0.09, 0.88), (-0.1, 0.48), (-0.1, 0.06)], 0.16, self._legs)
        self._oval(-0.1, 0.05, 0.07, 0.05, (40, 36, 34))
        self._oval(0.1, 0.05 + step, 0.07, 0.05, (40, 36, 34))
        self._limb([(-0.2 * w, 1.4), (-0.27 * w, 1.12), (-0.25 * w, 0.86)], 0.1, arms, 0.9)
        self._limb([(0.2 * w, 1.4), (0.27 * w, 1.12), (0.25 * w, 0.86)], 0.1, arms, 0.7)
        low = [(-0.18 * w, self._coat), (0.18 * w, self._coat), (0.17 * w, 1.1)]
        self._polygon(
            [*low, (0.22 * w, 1.42), (0, 1.5), (-0.22 * w, 1.42), (-0.17 * w, 1.1)], self._top
        )
        dark = [(0.05, self._coat), (0.18 * w, self._coat), (0.17 * w, 1.1), (0.22 * w, 1.42)]
        self._polygon([*dark, (0.07, 1.46)], self._top, 0.78)
        if self._bag and self._from_behind:
            self._polygon([(-0.14, 1.0), (0.14, 1.0), (0.13, 1.4), (-0.13, 1.4)], self._bag_color)
        self._draw_head(0.0)

    def _draw_head(self, forward: float) -> None:
        self._limb([(0, 1.42), (forward, 1.56)], 0.1, self._skin, 0.8)
        self._oval(forward, 1.63, 0.1, 0.135, self._skin)
        if self._from_behind:
            self._oval(forward, 1.65, 0.105, 0.13, self._hair)
        else:
            self._oval(forward - 0.03, 1.7, 0.105, 0.075, self._hair)
