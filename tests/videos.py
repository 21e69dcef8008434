"""Videos for tests; apart from the other builders, because `make gpu` runs tests without PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.factories import make_striped_pair


def write_video(
    path: Path,
    times: Sequence[int] = range(0, 4000, 1000),
    *,
    size: tuple[int, int] = (32, 48),
    codec: str = "libx264",
    pixel_format: str = "yuv444p",
    rotation: int = 0,
    flip: bool = False,
    audio: bool = False,
) -> list[np.ndarray]:
    """Write a video with frames at `times` (in units of 1/10000 s); return them, (H, W, 3) uint8.

    Frame i is striped, and its upper left quarter is black.
    """
    time_base, images = Fraction(1, 10_000), []
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, 10, options={"qp": "0"})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        sound = container.add_stream("aac", 8000) if audio else None
        for number, time in enumerate(times):
            images.append(make_striped_pair(*size, number)[0])
            images[-1][: size[0] // 2, : size[1] // 2] = 0
            frame = av.VideoFrame.from_ndarray(images[-1])
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), "f4"), "fltp", "mono")
            silence.sample_rate = 8000
            container.mux([*sound.encode(silence), *sound.encode()])
    return images
