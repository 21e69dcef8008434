"""Objects next to the road: buildings, fences, hedges, trees, and railways with their trains."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from streetscenes.drawing.light import vary
from streetscenes.drawing.scene_object import SceneObject, upright_object
from streetscenes.drawing.shadows import Footprint
from streetscenes.drawing.solids import Frame
from streetscenes.objects import barriers
from streetscenes.objects.barriers import PIECE
from streetscenes.objects.buildings import Site, draw_building, random_looks
from streetscenes.objects.plants import draw_bush, draw_hedge, draw_tree, leaf_color
from streetscenes.objects.poles import draw_wire_pole
from streetscenes.objects.trains import draw_train
from streetscenes.street import Side, Street

REACH = 130.0  # meters; everything farther away belongs to the skyline
TRAIN_REACH = 65.0  # meters; no train is longer


def roadside_objects(rng: np.random.Generator, street: Street) -> list[SceneObject]:
    """Return buildings, trees, boundaries and railways on both sides of the road."""
    objects = []
    for side in (street.left, street.right):
        objects += _buildings(rng, street, side)
        objects += _trees(rng, street, side)
        objects += _boundary(rng, street, side)
        if side.track:
            objects += _railway(rng, side)
    if street.level_crossing:
        objects.append(_crossing_train(rng, street))
    return objects


def _is_blocked(street: Street, start: float, end: float) -> bool:
    """Return True if a crossing street or railway occupies the ground between z = start and end."""
    near, far = street.junction
    if far and start < far + 2 and end > near - 2:
        return True
    rail = street.level_crossing
    return bool(rail) and start < rail + 4 and end > rail - 4


def _move_behind(side: Side, item: SceneObject) -> SceneObject:
    """Increase the depth, so that `item` is drawn before the fence and the train in front of it.

    The depth of a piece of fence and of a train is that of its farther end.
    """
    return replace(item, depth=item.depth + PIECE + (TRAIN_REACH if side.track else 0))


def _buildings(rng: np.random.Generator, street: Street, side: Side) -> list[SceneObject]:
    urban = side.kind == "canyon"
    density = {"canyon": 0.97, "suburb": 0.78, "country": 0.22, "railway": 0.5}[side.kind]
    objects, z = [], rng.uniform(-8, 4)
    while z < REACH:
        length = rng.uniform(10, 24) if urban else rng.uniform(8, 14)
        if rng.random() < density and not _is_blocked(street, z, z + length):
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
                objects.append(_move_behind(side, _building(rng, site, urban)))
        z += length + (0.0 if urban and rng.random() < 0.75 else rng.uniform(1.5, 7))
    return objects


def _building(rng: np.random.Generator, site: Site, urban: bool) -> SceneObject:
    near, far = sorted((site.side * site.street, site.side * (site.street + site.depth)))
    body = Footprint(near, far, site.start, site.start + site.length, 0.0, site.height)
    draw = partial(draw_building, site=site, looks=random_looks(rng, urban))
    # The depth is that of its farther end, so objects in front of the façade are drawn later.
    return SceneObject(site.start + site.length, draw, body)


def _trees(rng: np.random.Generator, street: Street, side: Side) -> list[SceneObject]:
    objects = []
    rows = {"canyon": 0.55, "suburb": 0.75, "country": 0.85, "railway": 0.6}[side.kind]
    if rng.random() < rows:  # a row of trees at the kerb or the verge
        spacing = rng.uniform(7, 16)
        out = side.kerb + 0.8 if side.walk > side.kerb + 1.6 else side.parcel + 0.5
        z = rng.uniform(6, 6 + spacing)
        while z < REACH:
            if rng.random() < 0.85 and not _is_blocked(street, z, z):
                tree = _tree(rng, side.sign * out, z, rng.uniform(5.5, 11))
                objects.append(
                    tree if out < side.parcel or side.track else _move_behind(side, tree)
                )
            z += spacing * rng.uniform(0.8, 1.2)
    if side.kind != "canyon":  # gardens, fields, banks
        count = {"suburb": 18, "country": 32, "railway": 18}[side.kind]
        inner = side.track + 3.5 if side.track else side.parcel + 0.8
        for u in rng.random((count, 3)).tolist():
            out = inner + u[0] * (side.facade - inner + (12 if side.kind == "country" else 0))
            z = 7 + (REACH - 7) * u[1] ** 1.4
            if _is_blocked(street, z, z) or side.has_drive(z):
                continue
            if u[2] < 0.4:
                x, height = side.sign * out, rng.uniform(0.8, 2.2)
                draw = partial(draw_bush, x=x, z=z, height=height)
                plant = upright_object(x, z, draw, height, height * 0.8)
            else:
                plant = _tree(rng, side.sign * out, z, rng.uniform(4, 11))
            objects.append(_move_behind(side, plant))
    return objects


def _tree(rng: np.random.Generator, x: float, z: float, height: float) -> SceneObject:
    half = height * 0.28
    crown = Footprint(x - half, x + half, z - half, z + half, height * 0.35, height * 0.9)
    return SceneObject(z, partial(draw_tree, x=x, z=z, height=height), crown)


def _boundary(rng: np.random.Generator, street: Street, side: Side) -> list[SceneObject]:
    """Return the fences, walls, hedges and guard rails between the parcels and the street."""
    if side.kind == "canyon":
        return []
    objects: list[SceneObject] = []
    z = 2.5
    beyond = side.track > 0 and rng.random() < 0.5  # no fence between street and railway
    x = side.sign * (side.track + 3.0 if beyond else side.parcel)
    while z < 90:
        length = rng.uniform(8, 22)
        kind = _boundary_kind(rng, side)
        pieces = int(length / PIECE)
        if kind:
            draw = _boundary_piece(rng, kind)
            for i in range(pieces):
                start = z + i * PIECE
                if not _is_blocked(street, start, start + PIECE) and not side.has_drive(start + 1):
                    piece = _piece(draw, x, start)
                    objects.append(replace(piece, depth=piece.depth + TRAIN_REACH * beyond))
        z += pieces * PIECE + rng.uniform(0, 3.5)
    return objects


def _boundary_kind(rng: np.random.Generator, side: Side) -> str:
    probabilities = {
        "suburb": (0.2, 0.27, 0.17, 0.28, 0.0, 0.08),
        "country": (0.08, 0.08, 0.12, 0.17, 0.2, 0.35),
        "railway": (0.2, 0.15, 0.35, 0.15, 0.0, 0.15),
    }[side.kind]
    return ("wall", "boards", "bars", "hedge", "rail", "")[rng.choice(6, p=probabilities)]


def _boundary_piece(rng: np.random.Generator, kind: str) -> Callable[..., None]:
    height = rng.uniform(0.9, 1.9)
    if kind == "wall":
        stone = vary(rng, barriers.STONES[rng.integers(4)], 0.15)
        return partial(barriers.draw_wall, height=height, stone=stone)
    if kind == "boards":
        board = vary(rng, barriers.BOARDS[rng.integers(4)], 0.15)
        return partial(barriers.draw_board_fence, height=height, board=board)
    if kind == "bars":
        bar = vary(rng, barriers.BARS[rng.integers(3)], 0.15)
        return partial(barriers.draw_bar_fence, height=height, bar=bar)
    if kind == "hedge":
        return partial(draw_hedge, height=height, leaves=leaf_color(rng))
    return barriers.draw_guard_rail


def _piece(draw: Callable[..., None], x: float, z: float) -> SceneObject:
    body = Footprint(x - 0.1, x + 0.1, z, z + PIECE, 0.0, 1.3)
    return SceneObject(z + PIECE, partial(draw, x=x, z=z), body)


def _railway(rng: np.random.Generator, side: Side) -> list[SceneObject]:
    """Return the masts of the overhead line and, with probability 0.8, a train."""
    x = side.sign * side.track
    objects = []
    for z in np.arange(rng.uniform(8, 20), REACH, 24).tolist():
        mast = x + side.sign * 2.6
        pole = upright_object(mast, z, partial(draw_wire_pole, x=mast, z=z), 0.3, 8)
        objects.append(_move_behind(side, pole))
    if rng.random() < 0.8:
        cars, length = int(rng.integers(2, 4)), rng.uniform(14, 20)
        z = rng.uniform(14, 30)
        draw = partial(draw_train, frame=Frame(x, z), cars=cars, length=length)
        body = Footprint(x - 1.4, x + 1.4, z, z + cars * length, 0.0, 3.7, rests=True)
        objects.append(SceneObject(z + cars * length, draw, body))
    return objects


def _crossing_train(rng: np.random.Generator, street: Street) -> SceneObject:
    z, x = street.level_crossing, rng.uniform(-30, 4)
    cars, length = int(rng.integers(1, 4)), rng.uniform(14, 18)
    draw = partial(draw_train, frame=Frame(x, z, np.pi / 2), cars=cars, length=length)
    body = Footprint(x, x + cars * length, z - 1.4, z + 1.4, 0.0, 3.7, rests=True)
    return SceneObject(z, draw, body)
