"""Details of the ground: wear, road markings, kerbs, slabs and rails."""

from dataclasses import dataclass

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.textures import noise_tile, sample_noise
from streetscenes.street import PARKING_WIDTH, Street

RAIL_GAUGE = 1.435  # meters


@dataclass
class Plane:
    """The ground's pixels (R rows, C columns): x (R, C) and z (R, 1) in meters, the rest (R, C)."""

    x: np.ndarray
    z: np.ndarray
    zone: np.ndarray  # uint8 tags
    gain: np.ndarray  # float32, brightness relative to the material's color
    paint: np.ndarray  # float32, opacity of white paint or bare steel, 0..1


def wear_asphalt(rng: np.random.Generator, plane: Plane, street: Street) -> None:
    """Darken wheel tracks and mended patches, and draw a manhole cover."""
    road = plane.zone == pixel_tags.ROAD
    wear = np.cos((plane.x - np.float32(street.lane)) * np.float32(2 * np.pi / 1.6))
    plane.gain += wear * road * np.float32(0.03)
    for _ in range(int(rng.integers(1, 5))):
        x0, z0, half = rng.uniform(-5, 5), rng.uniform(6, 40), rng.uniform(0.5, 1.6)
        rows = np.abs(plane.z[:, 0] - z0) < rng.uniform(0.8, 6)
        mended = (np.abs(plane.x[rows] - x0) < half) & road[rows]
        plane.gain[rows] *= np.where(mended, np.float32(rng.uniform(0.82, 1.1)), 1)
    x0, z0 = rng.uniform(-4, 4), rng.uniform(7, 18)
    cover = (plane.x - x0) ** 2 + (plane.z - z0) ** 2 < 0.12
    plane.gain[cover & road] *= 0.6


def paint_markings(rng: np.random.Generator, plane: Plane, street: Street) -> None:
    """Paint lane lines, stop line and crosswalk onto the road."""
    x, z = plane.x, plane.z
    half = np.maximum(0.07, z * 0.0022)  # otherwise far lines would fall between the pixels
    period, dash = (6.0, 3.0) if street.kind != "country" else (9.0, 4.5)
    on = (z + rng.uniform(0, period)) % period < dash
    painted = (np.abs(x) < half) & (on | (rng.random() < 0.2))
    if street.lanes > 1:
        for edge in (-street.lane_width, street.lane_width):
            painted |= (np.abs(x - edge) < half) & on
    if street.kind == "country" or rng.random() < 0.5:
        inset = PARKING_WIDTH if street.parking else 0.3
        for edge in (-street.left.kerb + inset, street.right.kerb - inset):
            painted |= np.abs(x - edge) < half
    near, far = street.junction
    if far:
        painted &= (z < near) | (z > far)
        painted |= (np.abs(z - near + 4.6) < 0.25) & (x > 0) & (x < street.right.kerb)
    if street.crosswalk:
        across = np.abs(z - street.crosswalk - 1.5) < 1.5
        painted = np.where(across, x % 1.0 < 0.5, painted)
    worn = 0.74 + 0.1 * sample_noise(noise_tile(rng, 40), z * 5, x * 9)
    plane.paint[:] = np.clip(worn, 0.3, 0.95) * (painted & (plane.zone == pixel_tags.ROAD))


def lay_kerbs(plane: Plane, street: Street) -> None:
    """Lighten the kerb stones and darken the gutters next to them."""
    for side in (street.left, street.right):
        if side.walk > side.kerb:
            out = plane.x * side.sign - side.kerb
            stone = (out > 0) & (out < 0.16) & (plane.zone == pixel_tags.SIDEWALK)
            plane.gain[stone] *= 1.16
            gutter = (out < 0) & (out > -0.22) & (plane.zone == pixel_tags.ROAD)
            plane.gain[gutter] *= 0.78


def lay_slabs(rng: np.random.Generator, plane: Plane) -> None:
    """Draw the joints between the slabs of sidewalks and the cobbles of parking strips."""
    near = plane.z[:, 0] < 22  # joints farther away are narrower than a pixel
    x, z, zone = plane.x[near], plane.z[near], plane.zone[near]
    for tag, size, dark in (
        (pixel_tags.SIDEWALK, np.float32(rng.uniform(0.5, 1.0)), 0.86),
        (pixel_tags.PARKING, np.float32(0.34), 0.76),
    ):
        joint = ((x % size < 0.05) | (z % size < 0.06)) & (zone == tag)
        plane.gain[near] *= np.where(joint, np.float32(dark), 1)


def lay_tracks(plane: Plane, street: Street) -> None:
    """Draw the rails of railways along and across the road."""
    for side in (street.left, street.right):
        if side.track:
            _draw_rails(plane, plane.x - side.sign * side.track, plane.z)
    if street.level_crossing:
        _draw_rails(plane, plane.z - street.level_crossing, plane.x)


def _draw_rails(plane: Plane, across: np.ndarray, along: np.ndarray) -> None:
    """Draw sleepers on the ballast, and rails on the ballast and across the road."""
    bed = plane.zone == pixel_tags.RAIL_TRACK
    sleeper = (np.abs(across) < 1.25) & (along % 0.75 < 0.26) & bed
    plane.gain[sleeper] *= 0.68
    off = np.abs(np.abs(across) - RAIL_GAUGE / 2)
    wide = np.maximum(0.07, plane.z * 0.003)
    laid = bed | (plane.zone == pixel_tags.ROAD)
    plane.gain[(off < wide * 1.8) & laid] *= 0.6
    plane.paint[(off < wide) & laid] = 0.7
