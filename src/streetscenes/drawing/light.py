"""Weather and light of a scene."""

import math
from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]  # RGB, 0..255


def mix(first: Color, second: Color, fraction: float) -> Color:
    """Interpolate linearly between two colors; `fraction` (0..1) is the weight of `second`."""
    keep = 1 - fraction
    return (
        first[0] * keep + second[0] * fraction,
        first[1] * keep + second[1] * fraction,
        first[2] * keep + second[2] * fraction,
    )


def vary(rng: np.random.Generator, color: Color, spread: float) -> Color:
    """Vary brightness at random by up to `spread` (relative), and each channel by a third of it."""
    gain = 1 + spread * rng.uniform(-1, 1)
    r, g, b = (1 + spread / 3 * rng.uniform(-1, 1, 3)).tolist()
    return color[0] * gain * r, color[1] * gain * g, color[2] * gain * b


@dataclass(frozen=True, kw_only=True)
class Light:
    """Sun, sky colors, clouds and haze of one scene."""

    sun_x: float  # horizontal direction towards the sun, unit length
    sun_z: float
    shadow_length: float  # meters of shadow per meter of height
    strength: float  # 0 (overcast) to 1 (clear sun)
    zenith: Color
    horizon: Color
    clouds: float  # cloud cover, 0 to 1
    haze_range: float  # distance in meters at which haze has reduced contrast by 63 %

    def shade(self, normal_x: float, normal_z: float) -> float:
        """Return the relative brightness of an upright surface with this horizontal normal."""
        facing = normal_x * self.sun_x + normal_z * self.sun_z
        return 0.98 - 0.3 * self.strength + 0.5 * self.strength * max(0.0, facing)

    def attenuate(self, color: Color, z: float, shade: float = 1.0) -> Color:
        """Apply shading and haze: the color that reaches the camera from z meters away."""
        clear = math.exp(-z / self.haze_range)
        lit = clear * shade
        veil = 1 - clear
        haze = self.horizon
        return (
            color[0] * lit + haze[0] * veil,
            color[1] * lit + haze[1] * veil,
            color[2] * lit + haze[2] * veil,
        )


SKIES: tuple[tuple[Color, Color, float, float], ...] = (
    # zenith, horizon, clouds, sun strength
    ((88, 138, 200), (198, 215, 230), 0.15, 1.0),
    ((100, 148, 205), (212, 222, 230), 0.45, 0.85),
    ((140, 165, 195), (220, 224, 228), 0.7, 0.45),
    ((190, 196, 202), (226, 228, 228), 0.9, 0.1),
    ((118, 142, 182), (238, 220, 192), 0.4, 0.75),
)


def random_light(rng: np.random.Generator) -> Light:
    """Choose one of the SKIES, with a random sun direction, shadow length and haze."""
    zenith, horizon, clouds, strength = SKIES[rng.choice(5, p=[0.27, 0.25, 0.18, 0.18, 0.12])]
    azimuth = rng.uniform(0, 2 * math.pi)
    return Light(
        sun_x=math.sin(azimuth),
        sun_z=math.cos(azimuth),
        shadow_length=rng.uniform(0.5, 1.6),
        strength=strength * rng.uniform(0.85, 1.0),
        zenith=vary(rng, zenith, 0.08),
        horizon=vary(rng, horizon, 0.04),
        clouds=clouds,
        haze_range=rng.uniform(160, 500),
    )
