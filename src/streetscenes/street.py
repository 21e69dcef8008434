"""Plan of a street: distances of lanes, kerbs and buildings from the center line, and crossings."""

from dataclasses import dataclass

import numpy as np

from streetscenes.drawing import pixel_tags

KINDS = ("canyon", "suburb", "country", "railway")
# Railways are more frequent than in reality; otherwise the class train would be too rare.
KIND_PROBABILITIES = (0.28, 0.34, 0.2, 0.18)
DRIVE_WIDTH = 4.5  # meters
PARKING_WIDTH = 2.2  # meters
GOLDEN = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of the road; distances are |x| from the center line, in meters."""

    sign: int  # -1 left, 1 right
    kind: str
    kerb: float  # outer edge of the road
    cobbles: float  # width of a cobbled parking strip inside the kerb; 0 if there is none
    walk: float  # outer edge of the sidewalk; equal to kerb if there is none
    parcel: float  # inner edge of gardens or yards
    facade: float  # inner edge of buildings
    yard: int  # tag of the ground between sidewalk and façade
    track: float  # center of a railway; 0 if there is none
    drives: float  # meters from one paved driveway to the next; 0 if there are none

    def has_drive(self, z: np.ndarray | float) -> np.ndarray | bool:
        """Return True where a driveway leads from the street to a house at depth z."""
        return z % self.drives < DRIVE_WIDTH if self.drives else False


@dataclass(frozen=True, kw_only=True)
class Street:
    """Lanes, both sides and crossings of a street; lengths in meters."""

    kind: str
    left: Side
    right: Side
    lanes: int  # in each direction
    lane_width: float
    lane: float  # x of the middle of the camera's lane
    parking: bool  # a strip of parked cars on each side
    junction: tuple[float, float]  # z range of a crossing street; (0, 0) if there is none
    crosswalk: float  # z of its nearer edge; 0 if there is none
    level_crossing: float  # z of a railway across the road; 0 if there is none

    def blocks_crossing(self, z: float, reach: float) -> bool:
        """Return True if a vehicle from z - reach to z + reach would stand on a crossing."""
        walk, rail = self.crosswalk, self.level_crossing
        on_walk = walk > 0 and -reach < z - walk < reach + 3
        return on_walk or (rail > 0 and abs(z - rail) < reach + 2)


def street_kind(seed: int, index: int) -> str:
    """Choose the kind of street so that consecutive indices have nearly the wanted frequencies."""
    start = np.random.default_rng([seed]).random()
    place = (start + index * GOLDEN) % 1.0
    return KINDS[int(np.searchsorted(np.cumsum(KIND_PROBABILITIES)[:-1], place, side="right"))]


def random_street(rng: np.random.Generator, kind: str) -> Street:
    """Return a street of this kind with its sides, junction and crossings."""
    lane_width = {"canyon": 3.4, "suburb": 3.2, "country": 3.5, "railway": 3.4}[kind]
    parking = kind != "country" and rng.random() < 0.7
    lanes = 2 if rng.random() < 0.28 else 1
    half = lane_width * lanes + (PARKING_WIDTH if parking else 0.5) + rng.uniform(0, 0.6)
    cobbles = PARKING_WIDTH if parking and rng.random() < 0.2 else 0.0
    crossing = kind == "railway" and rng.random() < 0.45
    rail_side = -1 if rng.random() < 0.6 else 1
    sides = {}
    for sign in (-1, 1):
        parallel = kind == "railway" and not crossing and sign == rail_side
        town = ("canyon", "suburb")[rng.integers(2)] if kind == "railway" else kind
        sides[sign] = _random_side(rng, sign, "railway" if parallel else town, half, cobbles)
    junction = (0.0, 0.0)
    if not crossing and rng.random() < (0.15 if kind == "country" else 0.45):
        near = rng.uniform(14, 45)
        junction = (near, near + rng.uniform(7, 12))
    walked = kind != "country" and rng.random() < 0.4
    return Street(
        kind=kind,
        left=sides[-1],
        right=sides[1],
        lanes=lanes,
        lane_width=lane_width,
        lane=lane_width * (1.5 if lanes > 1 and rng.random() < 0.3 else 0.5),
        parking=parking,
        junction=junction,
        crosswalk=(junction[0] - 3.6 if junction[0] else rng.uniform(9, 25)) if walked else 0.0,
        level_crossing=rng.uniform(20, 40) if crossing else 0.0,
    )


def _random_side(
    rng: np.random.Generator, sign: int, kind: str, kerb: float, cobbles: float
) -> Side:
    track = 0.0
    yard = pixel_tags.TERRAIN
    if kind == "canyon":
        walk = kerb + rng.uniform(3.0, 5.5)
        parcel = facade = walk
    elif kind == "country":
        walk = kerb
        parcel = kerb + rng.uniform(2.0, 5.0)
        facade = parcel + rng.uniform(6, 25)
    elif kind == "railway":
        walk = kerb + (rng.uniform(1.6, 2.8) if rng.random() < 0.7 else 0.0)
        parcel = walk + rng.uniform(0.6, 1.5)
        track = parcel + 3.2
        facade = track + rng.uniform(8, 16)
    else:
        walk = kerb + rng.uniform(2.4, 4.2)
        parcel = walk + (rng.uniform(1.0, 2.0) if rng.random() < 0.25 else 0.2)
        facade = parcel + rng.uniform(3.0, 7.0)
        yard = pixel_tags.GROUND if rng.random() < 0.45 else pixel_tags.TERRAIN
    spacing = {"suburb": rng.uniform(11, 22), "country": rng.uniform(35, 60)}
    drives = spacing.get(kind, 0.0)
    return Side(
        sign=sign, kind=kind, kerb=kerb, cobbles=cobbles, walk=walk, parcel=parcel, facade=facade,
        yard=yard, track=track, drives=drives,
    )  # fmt: skip
