"""Colors and tags of the ground, computed for each pixel from the point of the ground it shows."""

import numpy as np

from streetscenes.drawing import pixel_tags as tags
from streetscenes.drawing.camera import Camera
from streetscenes.drawing.light import Light
from streetscenes.drawing.textures import noise_tile, sample_noise
from streetscenes.road_surface import (
    Plane,
    lay_kerbs,
    lay_slabs,
    lay_tracks,
    paint_markings,
    wear_asphalt,
)
from streetscenes.street import Side, Street

PAINT = np.float32(225)  # gray level
TRACK_HALF = 2.3  # meters of ballast on each side of the track's center
COLORS = {
    tags.ROAD: (104, 104, 107), tags.SIDEWALK: (158, 152, 145), tags.TERRAIN: (104, 118, 62),
    tags.GROUND: (146, 134, 116), tags.RAIL_TRACK: (120, 110, 101), tags.PARKING: (136, 126, 117),
}  # fmt: skip
PATCHY = {  # relative variation of brightness from place to place
    tags.ROAD: 0.045, tags.SIDEWALK: 0.05, tags.TERRAIN: 0.13, tags.GROUND: 0.09,
    tags.RAIL_TRACK: 0.08, tags.PARKING: 0.06,
}  # fmt: skip


def ground(
    rng: np.random.Generator, camera: Camera, light: Light, street: Street, shadow: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Draw the ground under `shadow`, (rows, columns) float32 from 0 (lit) to 1 (black).

    Returns its first row R, colors (rows - R, columns, 3) float32 and tags (rows - R, columns).
    """
    first, x, z = camera.ground()
    zone = _zones(street, x, z)
    plane = Plane(x, z, zone, _patches(rng, zone, x, z), np.zeros_like(x))
    wear_asphalt(rng, plane, street)
    paint_markings(rng, plane, street)
    lay_kerbs(plane, street)
    lay_slabs(rng, plane)
    lay_tracks(plane, street)
    clear = np.exp(-z / light.haze_range)
    lit = (1 - shadow[first:]) * (clear * np.float32(0.92 + 0.12 * light.strength))
    haze = np.array(light.horizon, np.float32) * (1 - clear)[..., None]  # (R, 1, 3)
    material = _material_colors(rng)[zone]  # (R, C, 3)
    material *= (plane.gain * (1 - plane.paint) * lit)[..., None]
    material += (PAINT * plane.paint * lit)[..., None]
    material += haze
    return first, material, plane.zone


def _zones(street: Street, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    edges, kinds = [], [tags.TERRAIN]
    for side in (street.left, street.right):
        strips = _strips(side)
        if side.sign < 0:
            edges += [-reach for reach, _ in reversed(strips)]
            kinds += [tag for _, tag in reversed(strips)]
        else:
            edges += [reach for reach, _ in strips]
            kinds += [tag for _, tag in strips[1:]] + [tags.TERRAIN]
    zone = np.array(kinds, np.uint8)[np.searchsorted(np.array(edges, np.float32), x)]
    for side in (street.left, street.right):
        if side.drives:
            out = x * side.sign
            paved = (out > side.walk) & (out < side.facade) & side.has_drive(z)
            zone[paved] = tags.GROUND
    near, far = street.junction
    if far:
        zone[np.broadcast_to((z > near) & (z < far), zone.shape)] = tags.ROAD
    if street.level_crossing:
        bed = np.abs(z - street.level_crossing) < TRACK_HALF
        inside = (x > -street.left.kerb) & (x < street.right.kerb)
        zone[bed & ~inside] = tags.RAIL_TRACK
    return zone


def _strips(side: Side) -> list[tuple[float, int]]:
    """Return (outer |x|, tag) of each strip of ground, from the road outwards."""
    strips = [(side.kerb - side.cobbles, tags.ROAD)]
    if side.cobbles:
        strips.append((side.kerb, tags.PARKING))
    if side.walk > side.kerb:
        # The pavement extends a little below a façade, so that no seam shows between the two.
        seam = 0.5 if side.facade == side.walk else 0.0
        strips.append((side.walk + seam, tags.SIDEWALK))
    if side.track:
        strips.append((side.track - TRACK_HALF, tags.TERRAIN))
        strips.append((side.track + TRACK_HALF, tags.RAIL_TRACK))
    elif side.facade > side.walk:
        strips.append((side.facade, side.yard))
    return strips


def _material_colors(rng: np.random.Generator) -> np.ndarray:
    """Return (256, 3) float32: the color of each tag in this scene."""
    table = np.zeros((256, 3), np.float32)
    for tag, color in COLORS.items():
        table[tag] = np.array(color) * rng.uniform(0.84, 1.16) * rng.normal(1, 0.03, 3)
    return table


def _patches(
    rng: np.random.Generator, zone: np.ndarray, x: np.ndarray, z: np.ndarray
) -> np.ndarray:
    patchy = np.zeros(256, np.float32)
    for tag, spread in PATCHY.items():
        patchy[tag] = spread
    broad, fine = noise_tile(rng, 12), noise_tile(rng, 48)
    field = sample_noise(broad, z * 1.3, x * 1.7) + 0.7 * sample_noise(fine, z * 4.1, x * 6.3)
    gain: np.ndarray = 1 + patchy[zone] * field
    return gain
