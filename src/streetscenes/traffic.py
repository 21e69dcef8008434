"""Objects on the street: vehicles, cycles, people, signs, and street furniture."""

import math
from functools import partial

import numpy as np

from streetscenes.drawing.camera import Camera
from streetscenes.drawing.scene_object import SceneObject, upright_object
from streetscenes.drawing.shadows import Footprint
from streetscenes.drawing.solids import Frame
from streetscenes.objects import furniture, poles
from streetscenes.objects.cars import draw_car
from streetscenes.objects.cycles import draw_bicycle, draw_motorcycle
from streetscenes.objects.lorries import draw_bus, draw_truck
from streetscenes.objects.people import draw_person
from streetscenes.objects.signs import draw_sign
from streetscenes.street import PARKING_WIDTH, Side, Street

VIEW = 0.72  # meters to each side that the camera sees per meter of depth, with some margin

FURNITURE = (  # function, mean number per side, width and height in meters
    (furniture.draw_bin, 0.6, 0.7, 1.1),
    (furniture.draw_bench, 0.25, 1.7, 0.85),
    (furniture.draw_pillar, 0.2, 1.3, 2.8),
    (furniture.draw_cart, 0.45, 0.6, 1.1),
)


def street_objects(rng: np.random.Generator, street: Street, camera: Camera) -> list[SceneObject]:
    """Return all objects on the road and the sidewalks."""
    objects = (
        _moving_vehicles(rng, street)
        + _parked_vehicles(rng, street)
        + _road_users(rng, street, camera)
    )
    for side in (street.left, street.right):
        objects += _signs_and_lights(rng, street, side, camera)
        objects += _furniture(rng, side, camera)
        objects += _pedestrians(rng, side, camera)
        objects += _parked_cycles(rng, side, camera)
    return objects


def _depth(rng: np.random.Generator, camera: Camera, x: float, near: float, far: float) -> float:
    """Draw a depth at which x is in view from a log-uniform distribution (nearer is likelier)."""
    nearest = max(near, abs(x - camera.lateral) / VIEW)
    return math.exp(rng.uniform(math.log(nearest), math.log(max(far, nearest * 1.2))))


def _vehicle(
    rng: np.random.Generator, x: float, z: float, heading: float, kinds: tuple[float, float, float]
) -> SceneObject:
    """Return a car, truck or bus (`kinds`: their probabilities) near (x, z)."""
    draw, length, width, height = (
        (draw_car, 4.4, 1.8, 1.5), (draw_truck, 9.0, 2.5, 3.4), (draw_bus, 11.0, 2.5, 3.1)
    )[rng.choice(3, p=kinds)]  # fmt: skip
    if draw is not draw_car:
        z += 5
    across = abs(math.sin(heading)) > 0.7
    half_x, half_z = (length / 2, width / 2) if across else (width / 2, length / 2)
    body = Footprint(x - half_x, x + half_x, z - half_z, z + half_z, 0.0, height, rests=True)
    return SceneObject(z, partial(draw, frame=Frame(x, z, heading)), body)


def _moving_vehicles(rng: np.random.Generator, street: Street) -> list[SceneObject]:
    objects = []
    mixed = (0.78, 0.14, 0.08)
    lanes = [(i + 0.5) * street.lane_width for i in range(street.lanes)]
    for x, heading in [(x, 0.0) for x in lanes] + [(-x, math.pi) for x in lanes]:
        if rng.random() < 0.3:
            continue
        z = rng.uniform(9, 30)
        while z < 110:
            place, turn = x + rng.normal(0, 0.15), heading + rng.normal(0, 0.015)
            kinds = mixed if not street.blocks_crossing(z + 5, 6) else (1.0, 0.0, 0.0)
            if not street.blocks_crossing(z, 2.3):
                objects.append(_vehicle(rng, place, z, turn, kinds))
            z += rng.uniform(12, 45)
    near, far = street.junction
    if far and rng.random() < 0.5:
        lane, heading = ((0.3, math.pi / 2), (0.7, -math.pi / 2))[rng.integers(2)]
        z = near + lane * (far - near)
        objects.append(_vehicle(rng, rng.uniform(-9, 9), z, heading, (0.9, 0.06, 0.04)))
    return objects


def _parked_vehicles(rng: np.random.Generator, street: Street) -> list[SceneObject]:
    if not street.parking:
        return []
    objects = []
    for side in (street.left, street.right):
        full = rng.uniform(0.15, 0.75)
        z = rng.uniform(7, 12)
        while z < 80:
            inside = street.junction[0] - 6 < z < street.junction[1] + 6
            if rng.random() < full and not inside and not street.blocks_crossing(z, 3.5):
                heading = 0.0 if side.sign > 0 else math.pi
                x = side.sign * (side.kerb - PARKING_WIDTH / 2) + rng.normal(0, 0.07)
                objects.append(_vehicle(rng, x, z, heading, (0.97, 0.03, 0.0)))
            z += rng.uniform(5.2, 6.4)
    return objects


def _road_users(rng: np.random.Generator, street: Street, camera: Camera) -> list[SceneObject]:
    """Return people on the crosswalk and cyclists on the road."""
    objects = []
    if street.crosswalk and rng.random() < 0.8:
        for _ in range(int(rng.integers(1, 4))):
            x = rng.uniform(-street.left.kerb, street.right.kerb)
            objects.append(_person(x, street.crosswalk + rng.uniform(0.4, 2.6)))
    if rng.random() < 0.65:
        sign = 1 if rng.random() < 0.6 else -1
        x = sign * (street.right.kerb - (PARKING_WIDTH + 0.7 if street.parking else 0.9))
        objects.append(_cycle(rng, x, _depth(rng, camera, x, 9, 30), ridden=True, side=False))
    if street.junction[1] and rng.random() < 0.4:
        x, z = rng.uniform(-6, 6), street.junction[0] + rng.uniform(0.5, 2)
        objects.append(_cycle(rng, x, z, ridden=True, side=True))
    return objects


def _person(x: float, z: float) -> SceneObject:
    return upright_object(x, z, partial(draw_person, x=x, z=z), 0.4, 1.75)


def _cycle(
    rng: np.random.Generator, x: float, z: float, *, ridden: bool, side: bool
) -> SceneObject:
    draw = draw_motorcycle if rng.random() < 0.22 else draw_bicycle
    half = 0.85 if side else 0.15
    body = Footprint(x - half, x + half, z - 0.2, z + 0.2, 0.0, 1.7 if ridden else 1.0, rests=True)
    return SceneObject(z, partial(draw, x=x, z=z, ridden=ridden, side=side), body)


def _pedestrians(rng: np.random.Generator, side: Side, camera: Camera) -> list[SceneObject]:
    mean = {"canyon": 2.7, "suburb": 1.4, "country": 0.35, "railway": 0.9}[side.kind]
    if side.walk == side.kerb:
        mean *= 0.4
    objects = []
    inner, outer = side.kerb + 0.5, max(side.walk - 0.3, side.kerb + 1.0)
    for _ in range(int(rng.poisson(mean))):
        x = side.sign * rng.uniform(inner, outer)
        z = _depth(rng, camera, x, 6.0, 40.0)
        objects.append(_person(x, z))
        if rng.random() < 0.25:  # a second person walks next to the first
            objects.append(_person(x + 0.55 * side.sign, z + rng.uniform(-0.2, 0.2)))
    return objects


def _parked_cycles(rng: np.random.Generator, side: Side, camera: Camera) -> list[SceneObject]:
    mean = {"canyon": 1.4, "suburb": 1.0, "country": 0.3, "railway": 0.8}[side.kind]
    objects = []
    for _ in range(int(rng.poisson(mean))):
        x = side.sign * rng.uniform(side.kerb + 0.4, max(side.walk, side.kerb + 0.8))
        z = _depth(rng, camera, x, 7.0, 28.0)
        for i in range(int(rng.integers(1, 3))):
            objects.append(_cycle(rng, x, z + 0.7 * i, ridden=False, side=rng.random() < 0.7))
    return objects


def _signs_and_lights(
    rng: np.random.Generator, street: Street, side: Side, camera: Camera
) -> list[SceneObject]:
    """Return lamps, signs and traffic lights at the kerb."""
    objects = []
    kerb = side.sign * (side.kerb + 0.45)
    inward = -side.sign * rng.uniform(0.8, 1.8)
    if rng.random() < 0.65:
        for z in np.arange(rng.uniform(8, 22), 110, rng.uniform(18, 30)).tolist():
            lamp = partial(poles.draw_lamp, x=kerb, z=z, reach=inward)
            objects.append(upright_object(kerb, z, lamp, 0.2, 7))
    for _ in range(int(rng.poisson(1.5 if side.kind != "country" else 1.2))):
        z = _depth(rng, camera, kerb, 7.5, 45)
        objects.append(upright_object(kerb, z, partial(draw_sign, x=kerb, z=z), 0.5, 2.8))
    near, far = street.junction
    signaled = near > 0 or (street.crosswalk > 0 and rng.random() < 0.5)
    if signaled and street.kind != "country":
        reach = -side.sign * rng.uniform(2.5, 4.5) if rng.random() < 0.45 else 0.0
        before = street.crosswalk - 0.8 if street.crosswalk else near - 1.0
        z = far + 1.0 if near and rng.random() < 0.35 else before
        signal = partial(poles.draw_traffic_light, x=kerb, z=z, reach=reach)
        objects.append(upright_object(kerb, z, signal, 0.4, 4))
    return objects


def _furniture(rng: np.random.Generator, side: Side, camera: Camera) -> list[SceneObject]:
    """Return bins, benches, pillars and carts on the sidewalk."""
    objects = []
    factor = 1 / 3 if side.kind == "country" else 1.0  # less furniture than in a town
    for draw, mean, width, height in FURNITURE:
        for _ in range(int(rng.poisson(mean * factor))):
            x = side.sign * (max(side.walk, side.kerb + 1.2) - 0.3 - width / 2)
            z = _depth(rng, camera, x, 8, 35)
            objects.append(upright_object(x, z, partial(draw, x=x, z=z), width, height))
    return objects
