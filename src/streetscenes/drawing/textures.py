"""Fields of noise from which grain, grass, clouds and leaves are made."""

import numpy as np
from PIL import Image

TILE = 64  # cells a side


def tile(rng: np.random.Generator, coarse: int) -> np.ndarray:
    """Return smooth noise (TILE, TILE) float32, mean 0 and deviation 1, `coarse` lumps a side."""
    lumps = Image.fromarray(rng.standard_normal((coarse, coarse), dtype=np.float32))
    field = np.asarray(lumps.resize((TILE, TILE), Image.Resampling.BICUBIC))
    return (field - field.mean()) / field.std()


def sampled(field: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return `field`, repeated for ever, at the cells (row, column) of broadcastable arrays."""
    rows = np.floor(row).astype(np.int32) & (TILE - 1)
    columns = np.floor(column).astype(np.int32) & (TILE - 1)
    return field[rows, columns]


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return layered noise (height, width) float32, mean near 0, deviation near 1."""
    field = np.zeros((height, width), np.float32)
    for lumps, weight in (((3, 5), 1.0), ((6, 11), 0.6), ((13, 23), 0.35), ((27, 47), 0.2)):
        layer = Image.fromarray(rng.standard_normal(lumps, dtype=np.float32))
        field += weight * np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))
    return field
