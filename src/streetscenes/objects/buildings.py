"""Buildings: façades with windows, doors and shops; flat and pitched roofs."""

from dataclasses import dataclass

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.camera import NEAREST
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color, vary
from streetscenes.drawing.solids import Block, Face, Frame, draw_block

PLASTER: tuple[Color, ...] = (
    (196, 184, 164), (178, 166, 150), (206, 198, 186), (166, 122, 98), (150, 92, 72),
    (188, 170, 130), (160, 164, 168), (198, 164, 140), (140, 132, 122), (176, 180, 176),
)  # fmt: skip
ROOFS: tuple[Color, ...] = ((142, 76, 56), (92, 84, 80), (118, 68, 54), (78, 78, 84))
PANES: tuple[Color, ...] = ((52, 60, 68), (74, 86, 98), (40, 44, 48), (110, 122, 134))
DOORS: tuple[Color, ...] = ((84, 62, 46), (58, 72, 62), (110, 44, 40), (62, 66, 76))
SHOPS: tuple[Color, ...] = (
    (160, 52, 44),
    (48, 84, 112),
    (58, 92, 68),
    (206, 178, 92),
    (70, 70, 74),
)


@dataclass(frozen=True)
class Site:
    """Position and size of a building, in meters."""

    side: int  # of the road: -1 left, 1 right
    street: float  # |x| of the façade
    depth: float
    start: float  # z of the nearer end
    length: float
    height: float  # height of the walls
    ridge: float  # height of the roof above the walls; 0 is a flat roof


@dataclass(frozen=True)
class Looks:
    """Colors and window shapes of a building."""

    plaster: Color
    trim: Color
    roof: Color
    pane: Color
    shop: bool
    shutters: bool
    window_width: float  # as a fraction of a bay


def random_looks(rng: np.random.Generator, urban: bool) -> Looks:
    """Return colors and window shapes; only urban houses may have shops."""
    plaster = vary(rng, PLASTER[rng.integers(len(PLASTER))], 0.12)
    return Looks(
        plaster=plaster,
        trim=vary(rng, (214, 210, 200), 0.1) if rng.random() < 0.6 else vary(rng, plaster, 0.3),
        roof=vary(rng, ROOFS[rng.integers(len(ROOFS))], 0.12),
        pane=PANES[rng.integers(len(PANES))],
        shop=urban and rng.random() < 0.55,
        shutters=rng.random() < 0.25,
        window_width=rng.uniform(0.38, 0.62),
    )


def draw_building(canvas: Canvas, rng: np.random.Generator, site: Site, looks: Looks) -> None:
    """Draw walls, roof, windows and doors of one building."""
    start = max(site.start, NEAREST + 0.5)
    length = site.start + site.length - start
    if length < 1:
        return
    inner, outer = site.street, site.street + site.depth
    across = (inner, outer) if site.side > 0 else (-outer, -inner)
    frame = Frame(0.0, start)
    walls = Block((0, length), across, (0, site.height))
    faces = draw_block(canvas, frame, walls, looks.plaster, pixel_tags.BUILDING)
    if site.ridge > 0:
        _draw_pitched_roof(canvas, frame, site, looks, (across, length))
    front = faces.get("left" if site.side > 0 else "right")
    if front:
        _draw_facade(front, rng, site, looks, length)
        if site.ridge == 0:
            front.patch(0, 0.965, 1, 1, looks.trim, pixel_tags.BUILDING, 0.95)
    if (end := faces.get("rear")) and rng.random() < 0.7:
        _draw_gable_windows(end, rng, site, looks)


def _draw_pitched_roof(
    canvas: Canvas, frame: Frame, site: Site, looks: Looks, plan: tuple[tuple[float, float], float]
) -> None:
    across, length = plan
    eaves = (across[0] - 0.35, across[1] + 0.35)
    half = (eaves[1] - eaves[0]) / 2 - 0.01
    _draw_chimney(canvas, frame, site, across)
    hip = 0.0 if site.length > 14 else min(1.5, length / 4)
    up = (site.height - 0.05, site.height + site.ridge)
    roof = Block((-0.2, length + 0.2), eaves, up, (hip, hip, half, half))
    faces = draw_block(canvas, frame, roof, looks.roof, pixel_tags.BUILDING)
    if hip == 0 and (gable := faces.get("rear")):
        gable.polygon([(0.03, 0), (0.97, 0), (0.5, 0.94)], looks.plaster, pixel_tags.BUILDING)
    slope = faces.get("left" if site.side > 0 else "right")
    if slope:
        for t in (0.2, 0.4, 0.6, 0.8):
            slope.patch(0, t, 1, t + 0.03, looks.roof, pixel_tags.BUILDING, 0.85)
        slope.patch(0, 0, 1, 0.05, (70, 66, 64), pixel_tags.BUILDING)


def _draw_chimney(canvas: Canvas, frame: Frame, site: Site, across: tuple[float, float]) -> None:
    middle = (across[0] + across[1]) / 2
    top = site.height + site.ridge
    stack = Block((2.0, 2.8), (middle - 0.4, middle + 0.4), (top - 0.8, top + 0.7))
    draw_block(canvas, frame, stack, (128, 88, 74), pixel_tags.BUILDING)


def _draw_facade(
    face: Face, rng: np.random.Generator, site: Site, looks: Looks, length: float
) -> None:
    """Draw the windows of each floor; the ground floor has a door and possibly shops."""
    floors = max(1, round(site.height / 3.1))
    bays = max(1, round(length / 2.7))
    floor, bay = 1 / floors, 1 / bays
    face.patch(0, 0, 1, 0.1 * floor, looks.plaster, pixel_tags.BUILDING, 0.7)
    door = int(rng.integers(bays))
    lit = rng.random((floors, bays)).tolist()
    detailed = site.start < 45
    for row in range(floors):
        t = row * floor
        if row and detailed:
            face.patch(
                0, t - 0.02 * floor, 1, t + 0.02 * floor, looks.trim, pixel_tags.BUILDING, 0.9
            )
        for column in range(bays):
            s = column * bay
            if row == 0 and column == door:
                color = DOORS[column % len(DOORS)]
                face.patch(
                    s + 0.28 * bay, 0, s + 0.72 * bay, 0.74 * floor, color, pixel_tags.BUILDING
                )
            elif row == 0 and looks.shop:
                _draw_shop_window(face, (s, bay, floor), rng, looks)
            else:
                _draw_window(face, (s, t, bay, floor), lit[row][column], looks, detailed)
    if looks.shop:
        sign = vary(rng, SHOPS[rng.integers(len(SHOPS))], 0.15)
        face.patch(0.02, 0.8 * floor, 0.98, 0.98 * floor, sign, pixel_tags.BUILDING)


def _draw_window(
    face: Face, cell: tuple[float, float, float, float], lit: float, looks: Looks, detailed: bool
) -> None:
    s, t, bay, floor = cell
    left, right = s + (0.5 - looks.window_width / 2) * bay, s + (0.5 + looks.window_width / 2) * bay
    low, high = t + 0.3 * floor, t + 0.82 * floor
    if detailed:
        rim = 0.05
        face.patch(
            left - rim * bay,
            low - 0.07 * floor,
            right + rim * bay,
            high + 0.04 * floor,
            looks.trim,
            pixel_tags.BUILDING,
        )
        if looks.shutters:
            for edge in (left - 0.16 * bay, right + 0.02 * bay):
                face.patch(edge, low, edge + 0.14 * bay, high, looks.roof, pixel_tags.BUILDING, 0.8)
    face.patch(left, low, right, high, looks.pane, pixel_tags.BUILDING, 0.7 + 0.7 * lit)
    if detailed:
        middle = (left + right) / 2
        face.patch(
            middle - 0.015 * bay, low, middle + 0.015 * bay, high, looks.trim, pixel_tags.BUILDING
        )
        if lit > 0.6:  # a curtain or blind
            face.patch(left, high - 0.2 * floor, right, high, looks.trim, pixel_tags.BUILDING, 0.85)


def _draw_shop_window(
    face: Face, cell: tuple[float, float, float], rng: np.random.Generator, looks: Looks
) -> None:
    s, bay, floor = cell
    face.patch(
        s + 0.08 * bay, 0.14 * floor, s + 0.92 * bay, 0.76 * floor, looks.pane, pixel_tags.BUILDING
    )
    goods = vary(rng, (150, 130, 105), 0.4)
    top = float(rng.uniform(0.25, 0.45)) * floor
    face.patch(s + 0.12 * bay, 0.16 * floor, s + 0.88 * bay, top, goods, pixel_tags.BUILDING, 0.8)


def _draw_gable_windows(face: Face, rng: np.random.Generator, site: Site, looks: Looks) -> None:
    floors = max(1, round(site.height / 3.1))
    bays = max(2, round(site.depth / 3.5))
    for row in range(floors):
        for column in range(bays):
            cell = (column / bays, row / floors, 1 / bays, 1 / floors)
            _draw_window(face, cell, float(rng.random()), looks, site.start < 45)
