"""A pinhole camera over a road.

World coordinates in meters follow the road: x to the right of its center line, y up, z ahead of
the camera. A bend of the road is a shift of x that grows with z squared.
"""

from dataclasses import dataclass

import numpy as np

NEAREST = 2.0  # meters; nothing is drawn closer, so no polygon needs clipping
FARTHEST = 400.0  # meters; the ground beyond merges with the horizon


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Position, direction and focal length of the camera, and the size of the canvas in pixels."""

    rows: int
    columns: int
    focal: float  # focal length, pixels
    horizon: float  # row of the horizon
    altitude: float  # meters above the road
    lateral: float  # meters right of the center line
    yaw: float  # radians
    bend: float  # half the curvature, 1/meters

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Return (column, row) of a world point; its depth z must be positive."""
        scale = self.focal / z
        across = x - self.lateral + (self.bend * z - self.yaw) * z
        return self.columns / 2 + scale * across, self.horizon + scale * (self.altitude - y)

    def ground(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Return the first row R of ground, and its x (rows - R, columns) and z (rows - R, 1)."""
        first = min(int(np.ceil(self.horizon)), self.rows - 1)
        below = np.arange(first, self.rows, dtype=np.float32)[:, None] + 0.5 - self.horizon
        z = self.focal * self.altitude / np.maximum(below, 0.25)
        z = np.minimum(z, FARTHEST).astype(np.float32)
        across = np.arange(self.columns, dtype=np.float32)[None] + 0.5 - self.columns / 2
        x = across * (z / self.focal) + self.lateral - (self.bend * z - self.yaw) * z
        return first, x.astype(np.float32), z


def random_camera(rng: np.random.Generator, rows: int, columns: int, lane: float) -> Camera:
    """Return a dash camera in the lane centered `lane` meters right of the road's center line."""
    # KITTI's focal length is 0.58 image widths. In narrow images that would give too tall a view.
    focal = max(0.58 * columns, 1.1 * rows) * rng.uniform(0.95, 1.08)
    straight = rng.random() < 0.4
    return Camera(
        rows=rows,
        columns=columns,
        focal=focal,
        horizon=rows * rng.uniform(0.37, 0.46),
        altitude=rng.uniform(1.5, 2.0),
        lateral=lane + rng.uniform(-0.3, 0.3),
        yaw=rng.normal(0, 0.03),
        bend=rng.normal(0, 0.0004 if straight else 0.0016),
    )
