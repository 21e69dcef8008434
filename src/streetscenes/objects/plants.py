"""Trees, bushes and hedges, made of leaf clusters that are darker below and lighter above."""

import math

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas, Plate
from streetscenes.drawing.light import Color, vary
from streetscenes.objects.barriers import PIECE

LEAVES: tuple[Color, ...] = (
    (86, 112, 52), (102, 126, 60), (74, 100, 50), (116, 130, 58), (94, 110, 70), (134, 132, 64),
)  # fmt: skip
BARKS: tuple[Color, ...] = ((88, 74, 60), (72, 62, 54), (110, 98, 84))


def leaf_color(rng: np.random.Generator) -> Color:
    """Choose a green for leaves."""
    return vary(rng, LEAVES[rng.integers(len(LEAVES))], 0.18)


def draw_tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float) -> None:
    """Draw a broad-leaved tree or, more rarely, a conifer or a poplar."""
    plate = canvas.plate(x, z)
    bark = vary(rng, BARKS[rng.integers(len(BARKS))], 0.15)
    kind = rng.random()
    if kind < 0.12:
        _draw_conifer(plate, rng, height, bark)
        return
    slim = kind < 0.24
    radius = height * (rng.uniform(0.14, 0.2) if slim else rng.uniform(0.28, 0.4))
    low = height * (0.12 if slim else rng.uniform(0.22, 0.38))
    _draw_trunk(plate, rng, height, low, bark)
    center, half = (low + height) / 2, (height - low) / 2
    _draw_crown(canvas, plate, rng, (0.0, center), (radius, half), leaf_color(rng))


def draw_bush(canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float) -> None:
    """Draw a bush of `height` meters."""
    plate = canvas.plate(x, z)
    width = height * rng.uniform(0.5, 0.8)
    plate.ellipse(0, height * 0.3, width * 0.9, height * 0.32, (45, 58, 32), pixel_tags.VEGETATION)
    _draw_crown(canvas, plate, rng, (0.0, height * 0.5), (width, height * 0.5), leaf_color(rng))


def draw_hedge(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float, leaves: Color
) -> None:
    """Draw one piece of a hedge along the road, from z to z + PIECE."""
    project, light = canvas.camera.project, canvas.light
    near, far = project(x, 0, z), project(x, 0, z + PIECE)
    near_top, far_top = project(x, height, z), project(x, height, z + PIECE)
    shade = light.shade(-1.0 if x > canvas.camera.lateral else 1.0, 0)
    canvas.fill(
        [near, far, far_top, near_top],
        light.attenuate(leaves, z, shade * 0.85),
        pixel_tags.VEGETATION,
    )
    size = canvas.camera.focal / z
    for u in rng.random((10, 4)).tolist():
        column = near[0] + (far[0] - near[0]) * u[0]
        top = near_top[1] + (far_top[1] - near_top[1]) * u[0]
        drop = (near[1] - near_top[1]) * 0.75 * u[1] ** 2
        radius = size * (0.1 + 0.12 * u[2])
        box = (column - radius, top + drop - radius, column + radius, top + drop + radius)
        tone = shade * (1.15 - 0.4 * u[1] + 0.15 * u[3])
        canvas.fill_ellipse(box, light.attenuate(leaves, z, tone), pixel_tags.VEGETATION)


def _draw_trunk(
    plate: Plate, rng: np.random.Generator, height: float, low: float, bark: Color
) -> None:
    thick = height * rng.uniform(0.018, 0.032)
    lean = rng.normal(0, 0.02) * height
    # The trunk ends inside the crown, because the lower rim of the crown may have gaps.
    fork = 0.45 * low + 0.55 * (low + height) / 2
    outline = [
        (-thick * 1.3, 0),
        (thick * 1.3, 0),
        (lean + thick * 0.6, fork),
        (lean - thick * 0.6, fork),
    ]
    plate.polygon(outline, bark, pixel_tags.VEGETATION, 0.9)
    shaded = [(thick * 0.2, 0), (thick * 1.3, 0), outline[2], (lean, fork)]
    plate.polygon(shaded, bark, pixel_tags.VEGETATION, 0.65)
    for side in (-1, 1):
        tip = (lean + side * height * 0.12, fork + height * rng.uniform(0.02, 0.12))
        plate.limb([(lean * 0.6, fork * 0.7), tip], thick * 0.8, bark, pixel_tags.VEGETATION, 0.7)


def _draw_crown(
    canvas: Canvas,
    plate: Plate,
    rng: np.random.Generator,
    center: tuple[float, float],
    radii: tuple[float, float],
    leaves: Color,
) -> None:
    """Draw clusters of leaves on a few boughs, the darkest first."""
    (a0, b0), (ra, rb) = center, radii
    count = int(min(150, 24 + 170 * plate.size * max(ra, rb)))
    sunny = canvas.light.sun_x * canvas.light.strength
    boughs = int(rng.integers(5, 9))
    turn, out = rng.uniform(0, 2 * math.pi, boughs), rng.uniform(0.3, 0.68, boughs)
    bough = rng.integers(boughs, size=count)
    spin, reach = rng.uniform(0, 2 * math.pi, count), np.sqrt(rng.random(count))
    wide = rng.uniform(0.3, 0.46, boughs)[bough]
    across = (out * np.cos(turn))[bough] + wide * reach * np.cos(spin)
    up = (out * np.sin(turn))[bough] + wide * reach * np.sin(spin)
    # Boughs and crown are shaded as balls, lighter where the surface faces the sky and the sun.
    lift = 0.55 * up + 0.45 * reach * np.sin(spin)
    side = 0.5 * across + 0.5 * reach * np.cos(spin)
    tone = 0.95 + 0.3 * lift + 0.2 * sunny * side + rng.uniform(-0.13, 0.13, count)
    size = rng.uniform(0.1, 0.2, count) * (1.3 if count < 60 else 1.0)
    for i in np.argsort(tone - 0.3 * reach, kind="stable").tolist():
        a, b, radius = a0 + float(across[i]) * ra, b0 + float(up[i]) * rb, float(size[i])
        shade = float(tone[i])
        tall = radius * min(rb, ra * 1.8)
        plate.ellipse(a, b, radius * ra, tall, leaves, pixel_tags.VEGETATION, shade)


def _draw_conifer(plate: Plate, rng: np.random.Generator, height: float, bark: Color) -> None:
    needles = vary(rng, (52, 74, 48), 0.15)
    plate.rectangle(-0.03 * height, 0, 0.03 * height, 0.2 * height, bark, pixel_tags.VEGETATION)
    layers = 7
    for i in range(layers):
        low = height * (0.1 + 0.8 * i / layers)
        wide = height * 0.2 * (1 - i / layers) * rng.uniform(0.85, 1.15) + 0.1
        tip = min(height, low + height * 0.3)
        shade = rng.uniform(0.8, 1.1)
        plate.polygon(
            [(-wide, low), (0, low + 0.1), (wide, low), (0, tip)],
            needles,
            pixel_tags.VEGETATION,
            shade,
        )
        plate.polygon(
            [(0, low + 0.1), (wide, low), (0, tip)], needles, pixel_tags.VEGETATION, shade * 0.75
        )
