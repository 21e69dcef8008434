"""Noise from which grain, grass, clouds and leaves are made."""

import numpy as np
from PIL import Image

TILE = 64  # cells per side


def noise_tile(rng: np.random.Generator, coarse: int) -> np.ndarray:
    """Interpolate coarse x coarse values to (TILE, TILE) float32 noise of mean 0, deviation 1."""
    lumps = Image.fromarray(rng.standard_normal((coarse, coarse), dtype=np.float32))
    field = np.asarray(lumps.resize((TILE, TILE), Image.Resampling.BICUBIC))
    normalized: np.ndarray = (field - field.mean()) / field.std()
    return normalized


def sample_noise(field: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Look up cells (row, column) of a tile that repeats without end; the indices broadcast."""
    rows = np.floor(row).astype(np.int32) & (TILE - 1)
    columns = np.floor(column).astype(np.int32) & (TILE - 1)
    cells: np.ndarray = field[rows, columns]
    return cells


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return fractal noise (height, width) float32, mean near 0, standard deviation near 1."""
    field = np.zeros((height, width), np.float32)
    for lumps, weight in (((3, 5), 1.0), ((6, 11), 0.6), ((13, 23), 0.35), ((27, 47), 0.2)):
        layer = Image.fromarray(rng.standard_normal(lumps, dtype=np.float32))
        field += weight * np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))
    return field
