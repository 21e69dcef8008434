"""Draw a street scene as seen from a car, with a label for every pixel."""

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.camera import Camera, random_camera
from streetscenes.drawing.camera_effects import photograph
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Light, random_light
from streetscenes.drawing.shadows import Footprint, shadow_map
from streetscenes.ground import ground
from streetscenes.roadside import roadside_objects
from streetscenes.sky import draw_skyline, sky
from streetscenes.street import Street, random_street, street_kind
from streetscenes.traffic import street_objects

LARGE = 200_000  # pixels; larger images need less antialiasing


def street_scene(seed: int, index: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a synthetic street scene; the result is a pure function of the arguments.

    Args:
        seed: seed of the data set, >= 0.
        index: index of the scene in the data set, >= 0.
        height, width: size in pixels; the scene scales with it.

    Returns:
        image (height, width, 3) uint8 RGB, and label ids (height, width) uint8 in 0..33.
    """
    rng = np.random.default_rng([seed, index])
    factor = 3 if height * width < LARGE else 2
    street = random_street(rng, street_kind(seed, index))
    light = random_light(rng)
    camera = random_camera(rng, height * factor, width * factor, street.lane)
    objects = roadside_objects(rng, street) + street_objects(rng, street, camera)
    footprints = [item.footprint for item in objects if item.footprint]
    canvas = Canvas(_backdrop(rng, camera, light, street, footprints), camera, light)
    draw_skyline(canvas, rng, street.kind)
    for item in sorted(objects, key=lambda item: -item.depth):
        item.draw(canvas, rng)
    return photograph(rng, canvas.pixels(), height, width)


def _backdrop(
    rng: np.random.Generator,
    camera: Camera,
    light: Light,
    street: Street,
    footprints: list[Footprint],
) -> np.ndarray:
    """Return sky and ground, (rows, columns, 4) uint8."""
    shadow = shadow_map(camera, light, footprints)
    first, colors, zones = ground(rng, camera, light, street, shadow)
    pixels = np.empty((camera.rows, camera.columns, 4), np.uint8)
    pixels[:first, :, :3] = sky(rng, camera, light, first)
    pixels[:first, :, 3] = pixel_tags.SKY
    pixels[first:, :, :3] = np.clip(colors, 0, 255)
    pixels[first:, :, 3] = zones
    return pixels
