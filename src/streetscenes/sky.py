"""The sky with its clouds, and the skyline of distant woods, hills and roofs."""

import numpy as np
from PIL import Image

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.camera import Camera
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Light, mix, vary
from streetscenes.drawing.textures import clouds

COARSE = 3  # canvas pixels per computed pixel: clouds have no sharp edges


def sky(rng: np.random.Generator, camera: Camera, light: Light, rows: int) -> np.ndarray:
    """Return the part of the canvas above the horizon, (rows, columns, 3) uint8."""
    height, width = rows // COARSE + 1, camera.columns // COARSE + 1
    # The blue gets deeper quickly above the horizon and slowly higher up.
    up = np.linspace(1, 0, height, dtype=np.float32)[:, None, None]
    zenith, horizon = (np.array(c, np.float32) for c in (light.zenith, light.horizon))
    clear = horizon + (zenith - horizon) * up**0.7
    field = clouds(rng, height, width)[..., None]
    cover = np.clip((field - 1.1 + 2.4 * light.clouds) * 0.8, 0, 1) * min(1.0, light.clouds + 0.5)
    white = 242 if light.strength > 0.3 else 222
    cloud = np.array((0.99, 1.0, 1.01), np.float32) * white
    cloud = cloud * (1 - 0.12 * np.clip(field, 0, 1.5) * light.clouds)
    blended = np.clip(clear + (cloud - clear) * cover, 0, 255).astype(np.uint8)
    full = Image.fromarray(blended).resize((camera.columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(full)


def draw_skyline(canvas: Canvas, rng: np.random.Generator, kind: str) -> None:
    """Draw distant woods and, except in the country, distant roofs."""
    camera, light = canvas.camera, canvas.light
    step = max(camera.columns / 160, 1.0)
    columns = np.arange(-1, 162) * step
    for depth, low, high in ((260.0, 5, 14), (140.0, 4, 10)):
        lumps = np.repeat(rng.uniform(low, high, 21), 8)[:163] + rng.normal(0, 0.8, 163)
        smooth = np.convolve(lumps, np.ones(5) / 5, mode="same") + rng.normal(0, 0.5, 163)
        rows = camera.horizon - smooth * camera.focal / depth
        outline = list(zip(columns.tolist(), rows.tolist(), strict=True))
        base = camera.horizon + 2.2 * camera.focal / depth
        outline += [(float(columns[-1]), base), (float(columns[0]), base)]
        leaves = vary(rng, (86, 106, 66), 0.15)
        canvas.fill(outline, light.attenuate(leaves, depth, 0.8), pixel_tags.VEGETATION)
    if kind != "country":
        _draw_far_roofs(canvas, rng)


def _draw_far_roofs(canvas: Canvas, rng: np.random.Generator) -> None:
    camera, light = canvas.camera, canvas.light
    scale = camera.focal / 180
    for column in (rng.random(14) * camera.columns).tolist():
        wide, high = rng.uniform(5, 12) * scale, rng.uniform(6, 16) * scale
        plaster = vary(rng, (180, 168, 152), 0.2)
        foot = camera.horizon + 1.6 * scale
        top = camera.horizon - high
        box = [(column, foot), (column, top), (column + wide, top), (column + wide, foot)]
        canvas.fill(box, light.attenuate(plaster, 180, 0.85), pixel_tags.BUILDING)
        roof = mix(plaster, (110, 70, 60), 0.7)
        peak = (column + wide / 2, top - 3 * scale)
        canvas.fill(
            [(column, top), peak, (column + wide, top)],
            light.attenuate(roof, 180, 0.9),
            pixel_tags.BUILDING,
        )
