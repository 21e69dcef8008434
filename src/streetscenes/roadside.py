"""What stands beside the road for good: buildings, fences, hedges, trees and tracks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from streetscenes.drawing.light import varied
from streetscenes.drawing.scene_object import SceneObject, upright
from streetscenes.drawing.shadows import Footprint
from streetscenes.drawing.solids import Frame
from streetscenes.objects import barriers
from streetscenes.objects.barriers import PIECE
from streetscenes.objects.buildings import Site, draw_building, random_looks
from streetscenes.objects.plants import draw_bush, draw_hedge, draw_tree, leaf_colour
from streetscenes.objects.poles import draw_wire_pole
from streetscenes.objects.trains import draw_train
from streetscenes.street import Side, Street

REACH = 130.0  # metres; things farther away are the skyline's
TRAIN_REACH = 65.0  # metres; no train is longer


def parcel_things(rng: np.random.Generator, street: Street) -> list[SceneObject]:
    """Return everything that stands beside the road and never moves, and the trains."""
    things = []
    for side in (street.left, street.right):
        things += _buildings(rng, street, side)
        things += _trees(rng, street, side)
        things += _boundary(rng, street, side)
        if side.track:
            things += _railway(rng, side)
    if street.level_crossing:
        things.append(_crossing_train(rng, street))
    return things


def _blocked(street: Street, start: float, end: float) -> bool:
    """Say whether a crossing street or railway needs the ground from start to end."""
    near, far = street.junction
    if far and start < far + 2 and end > near - 2:
        return True
    rail = street.level_crossing
    return bool(rail) and start < rail + 4 and end > rail - 4


def _behind(side: Side, thing: SceneObject) -> SceneObject:
    """Return the thing drawn earlier: before the fence, and the train, that stand before it.

    A piece of fence and a train are drawn in the order of their farther ends.
    """
    return replace(thing, depth=thing.depth + PIECE + (TRAIN_REACH if side.track else 0))


def _buildings(rng: np.random.Generator, street: Street, side: Side) -> list[SceneObject]:
    urban = side.kind == "canyon"
    density = {"canyon": 0.97, "suburb": 0.78, "country": 0.22, "railway": 0.5}[side.kind]
    things, z = [], rng.uniform(-8, 4)
    while z < REACH:
        length = rng.uniform(10, 24) if urban else rng.uniform(8, 14)
        if rng.random() < density and not _blocked(street, z, z + length):
            floors = int(rng.integers(3, 7)) if urban else int(rng.integers(1, 4))
            flat = rng.random() < (0.6 if urban else 0.12)
            site = Site(
                side=side.sign,
                street=side.facade + (0.0 if urban else rng.uniform(0, 3)),
                depth=rng.uniform(9, 13),
                start=z,
                length=length,
                height=floors * rng.uniform(2.8, 3.3) + 0.5,
                ridge=0.0 if flat else rng.uniform(2.5, 4.5),
            )
            if z + length > 4:
                things.append(_behind(side, _building(rng, site, urban)))
        z += length + (0.0 if urban and rng.random() < 0.75 else rng.uniform(1.5, 7))
    return things


def _building(rng: np.random.Generator, site: Site, urban: bool) -> SceneObject:
    near, far = sorted((site.side * site.street, site.side * (site.street + site.depth)))
    body = Footprint(near, far, site.start, site.start + site.length, 0.0, site.height)
    draw = partial(draw_building, site=site, looks=random_looks(rng, urban))
    # By its farther end: whatever stands before the façade is drawn later.
    return SceneObject(site.start + site.length, draw, body)


def _trees(rng: np.random.Generator, street: Street, side: Side) -> list[SceneObject]:
    things = []
    rows = {"canyon": 0.55, "suburb": 0.75, "country": 0.85, "railway": 0.6}[side.kind]
    if rng.random() < rows:  # a row of trees at the kerb or the verge
        spacing = rng.uniform(7, 16)
        out = side.kerb + 0.8 if side.walk > side.kerb + 1.6 else side.parcel + 0.5
        z = rng.uniform(6, 6 + spacing)
        while z < REACH:
            if rng.random() < 0.85 and not _blocked(street, z, z):
                tree = _tree(rng, side.sign * out, z, rng.uniform(5.5, 11))
                things.append(tree if out < side.parcel or side.track else _behind(side, tree))
            z += spacing * rng.uniform(0.8, 1.2)
    if side.kind != "canyon":  # gardens, fields, banks
        count = {"suburb": 18, "country": 32, "railway": 18}[side.kind]
        inner = side.track + 3.5 if side.track else side.parcel + 0.8
        for share in rng.random((count, 3)).tolist():
            out = inner + share[0] * (side.facade - inner + (12 if side.kind == "country" else 0))
            z = 7 + (REACH - 7) * share[1] ** 1.4
            if _blocked(street, z, z) or side.has_drive(z):
                continue
            if share[2] < 0.4:
                x, height = side.sign * out, rng.uniform(0.8, 2.2)
                draw = partial(draw_bush, x=x, z=z, height=height)
                plant = upright(x, z, draw, height, height * 0.8)
            else:
                plant = _tree(rng, side.sign * out, z, rng.uniform(4, 11))
            things.append(_behind(side, plant))
    return things


def _tree(rng: np.random.Generator, x: float, z: float, height: float) -> SceneObject:
    half = height * 0.28
    crown = Footprint(x - half, x + half, z - half, z + half, height * 0.35, height * 0.9)
    return SceneObject(z, partial(draw_tree, x=x, z=z, height=height), crown)


def _boundary(rng: np.random.Generator, street: Street, side: Side) -> list[SceneObject]:
    """Return what divides parcels from the street: fences, walls and hedges by turns."""
    if side.kind == "canyon":
        return []
    things: list[SceneObject] = []
    z = 2.5
    beyond = side.track > 0 and rng.random() < 0.5  # the railway lies open to the street
    x = side.sign * (side.track + 3.0 if beyond else side.parcel)
    while z < 90:
        length = rng.uniform(8, 22)
        kind = _boundary_kind(rng, side)
        pieces = int(length / PIECE)
        if kind:
            draw = _boundary_piece(rng, kind)
            for i in range(pieces):
                start = z + i * PIECE
                if not _blocked(street, start, start + PIECE) and not side.has_drive(start + 1):
                    piece = _piece(draw, x, start)
                    things.append(replace(piece, depth=piece.depth + TRAIN_REACH * beyond))
        z += pieces * PIECE + rng.uniform(0, 3.5)
    return things


def _boundary_kind(rng: np.random.Generator, side: Side) -> str:
    shares = {
        "suburb": (0.2, 0.27, 0.17, 0.28, 0.0, 0.08),
        "country": (0.08, 0.08, 0.12, 0.17, 0.2, 0.35),
        "railway": (0.2, 0.15, 0.35, 0.15, 0.0, 0.15),
    }[side.kind]
    return ("wall", "boards", "bars", "hedge", "rail", "")[rng.choice(6, p=shares)]


def _boundary_piece(rng: np.random.Generator, kind: str) -> Callable[..., None]:
    height = rng.uniform(0.9, 1.9)
    if kind == "wall":
        stone = varied(rng, barriers.STONES[rng.integers(4)], 0.15)
        return partial(barriers.draw_wall, height=height, stone=stone)
    if kind == "boards":
        board = varied(rng, barriers.BOARDS[rng.integers(4)], 0.15)
        return partial(barriers.draw_board_fence, height=height, board=board)
    if kind == "bars":
        bar = varied(rng, barriers.BARS[rng.integers(3)], 0.15)
        return partial(barriers.draw_bar_fence, height=height, bar=bar)
    if kind == "hedge":
        return partial(draw_hedge, height=height, leaves=leaf_colour(rng))
    return barriers.draw_guard_rail


def _piece(draw: Callable[..., None], x: float, z: float) -> SceneObject:
    body = Footprint(x - 0.1, x + 0.1, z, z + PIECE, 0.0, 1.3)
    return SceneObject(z + PIECE, partial(draw, x=x, z=z), body)


def _railway(rng: np.random.Generator, side: Side) -> list[SceneObject]:
    """Return the masts of the overhead line and, mostly, a train."""
    x = side.sign * side.track
    things = []
    for z in np.arange(rng.uniform(8, 20), REACH, 24).tolist():
        mast = x + side.sign * 2.6
        pole = upright(mast, z, partial(draw_wire_pole, x=mast, z=z), 0.3, 8)
        things.append(_behind(side, pole))
    if rng.random() < 0.8:
        cars, length = int(rng.integers(2, 4)), rng.uniform(14, 20)
        z = rng.uniform(14, 30)
        draw = partial(draw_train, frame=Frame(x, z), cars=cars, length=length)
        body = Footprint(x - 1.4, x + 1.4, z, z + cars * length, 0.0, 3.7, rests=True)
        things.append(SceneObject(z + cars * length, draw, body))
    return things


def _crossing_train(rng: np.random.Generator, street: Street) -> SceneObject:
    z, x = street.level_crossing, rng.uniform(-30, 4)
    cars, length = int(rng.integers(1, 4)), rng.uniform(14, 18)
    draw = partial(draw_train, frame=Frame(x, z, np.pi / 2), cars=cars, length=length)
    body = Footprint(x, x + cars * length, z - 1.4, z + 1.4, 0.0, 3.7, rests=True)
    return SceneObject(z, draw, body)
