"""Write video files with PyAV, a binding of FFmpeg (the extra `video`).

Shapes: H and W pixels.
"""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from roadseg.inference.video_reader import Frame, explain_errors
from roadseg.system.files import atomic_file

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's name of the format for each suffix that can be written."""
_ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "mpeg4": {"qmin": "2", "qmax": "4", "b": "1G"},
}
"""Encoders, the best first, and their options."""
_MPEG4_TIME_BASE = Fraction(1, 60_000)
"""MPEG-4 part 2 allows no denominator above 65535."""
_BT709 = 1
"""Code of BT.709 for the color space, primaries and transfer function (ITU-T H.273)."""


@contextlib.contextmanager
def create_video(
    path: Path, time_base: Fraction, rate: Fraction
) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that adds a frame to the video `path`, which is written atomically.

    The encoder is H.264, or MPEG-4 part 2 if FFmpeg was built without it. Both need an even height
    and width in the pixel format that all players read, so an odd one gets one more row or column,
    a copy of the last.

    Args:
        time_base: unit of the times of the frames, s.
        rate: average number of frames per second.

    Raises:
        InputError: FFmpeg cannot encode frames of this size.
    """
    streams: list[VideoStream] = []
    with atomic_file(path) as temporary, contextlib.ExitStack() as stack:
        stack.enter_context(explain_errors(path, "encoded"))
        muxer = MUXERS[path.suffix.lower()]
        options = {"movflags": "+faststart"} if muxer != "matroska" else {}
        container = stack.enter_context(
            av.open(f"file:{temporary}", "w", format=muxer, container_options=options)
        )

        def write(frame: Frame) -> None:
            image = frame.image
            height, width = image.shape[:2]
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if not streams:
                streams.append(_add_stream(container, image, frame.pixel_aspect, time_base, rate))
            encoded = VideoFrame.from_ndarray(image).reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            encoded.pts, encoded.time_base = frame.pts, time_base
            encoded.duration = frame.duration
            container.mux(streams[0].encode(encoded))

        yield write
        for stream in streams:
            container.mux(stream.encode())


def _add_stream(
    container: OutputContainer,
    image: np.ndarray,
    pixel_aspect: Fraction,
    time_base: Fraction,
    rate: Fraction,
) -> VideoStream:
    """Add the video stream for frames of the shape of `image`."""
    name = next(name for name in _ENCODERS if name in av.codecs_available)
    stream = container.add_stream(name, rate, options=_ENCODERS[name])
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.height, context.width = image.shape[:2]
    context.pix_fmt = "yuv420p"
    context.sample_aspect_ratio = pixel_aspect
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = ColorRange.MPEG
    coarse = name == "mpeg4" and time_base.denominator > _MPEG4_TIME_BASE.denominator
    context.time_base = _MPEG4_TIME_BASE if coarse else time_base
    return stream
