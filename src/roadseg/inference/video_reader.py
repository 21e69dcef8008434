"""Read video files with PyAV, a binding of FFmpeg (the extra `video`).

Shapes: H and W pixels.
"""

import contextlib
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from roadseg.prepare.images.decoding import MAX_PIXELS
from roadseg.system.errors import InputError

_FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mpegvideo,h264,hevc,m4v,ivf,obu,mjpeg"
"""Formats that are read. Playlists (HLS, DASH, concat) are not: they open other files and URLs."""
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_LIMIT = {"max_pixels": str(MAX_PIXELS)}
_STATE_DURATION = ("mov", "matroska", "avi")
"""Formats whose header states the duration, so that a truncated file can be detected."""
_TOLERANCE_S = 0.5
"""Difference between the stated duration and the last packet in files that are complete; s."""


class Frame(NamedTuple):
    """A frame of a video."""

    image: np.ndarray
    """(H, W, 3) uint8, RGB, upright."""
    pts: int
    """Presentation time in units of the time base of its video; increasing."""
    duration: int = 0
    """In the same unit; 0 if unknown."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel on the screen, relative to its height."""


class FrameStream(NamedTuple):
    """The frames of a video in order, decoded when they are taken."""

    name: str
    """The name of the file or folder in messages."""
    frames: Iterator[Frame]
    time_base: Fraction
    """Unit of the times, s."""
    rate: Fraction
    """Average number of frames per second."""
    num_frames: int | None
    """Number of frames that the file states; None if it does not."""
    left_out: Counter[str]
    """Number of other streams by type, such as audio."""


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[FrameStream]:
    """Open a video of any frame rate, constant or variable, and any pixel format.

    Raises:
        InputError: the file is missing, not a video or too large. The frames raise it if the file
            is damaged or truncated, or frames have different sizes.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with contextlib.ExitStack() as stack:
        with explain_errors(path, "read"):
            options = {**_OPTIONS, **_LIMIT}
            container = stack.enter_context(
                av.open(f"file:{path}", "r", options=options, metadata_errors="replace")
            )
            stream = next(iter(container.streams.video), None)
        if stream is None:
            raise InputError(f"{path}: has no video stream")
        stream.codec_context.options = _LIMIT
        if stream.width * stream.height > MAX_PIXELS:
            raise InputError(
                f"{path}: {stream.height}x{stream.width} pixels; the limit is "
                f"{MAX_PIXELS / 1e6:g} million"
            )
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        yield FrameStream(
            str(path),
            _frames(path, container, stream, rate),
            _time_base(stream),
            rate,
            stream.frames or None,
            Counter(other.type for other in container.streams if other is not stream),
        )


def _frames(
    path: Path, container: InputContainer, stream: VideoStream, rate: Fraction
) -> Iterator[Frame]:
    """Yield the frames of `stream`; a time that is missing or not increasing is replaced."""
    period = max(1, round(1 / (rate * _time_base(stream))))
    pts, shape, number = -period, None, 0
    for number, frame in enumerate(_decode(path, container, stream), 1):
        with explain_errors(path, "converted to RGB"):
            image = _upright(frame.to_ndarray(format="rgb24"), frame)
        if shape not in (None, image.shape):
            raise InputError(f"{path}: frame {number} has another size than the first; split it")
        aspect = stream.sample_aspect_ratio or Fraction(1)
        turned = shape is None and image.shape[:2] != (frame.height, frame.width)
        is_first, shape = shape is None, image.shape
        if frame.pts is not None and (is_first or frame.pts > pts):
            pts = frame.pts
        else:
            pts += period
        yield Frame(image, pts, frame.duration or 0, 1 / aspect if turned else aspect)
    if number == 0:
        raise InputError(f"{path}: has no frames")


def _decode(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode `stream`; raise InputError if the file is damaged or ends too early."""
    end = 0.0
    number = 0
    with explain_errors(path, "decoded"):
        for packet in container.demux():  # of all streams, because a sound may be the longest
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != stream.index:
                continue
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                number += 1
                if frame.is_corrupt or packet.is_corrupt:
                    raise InputError(f"{path}: damaged or truncated near frame {number}")
                yield frame
    expected = _stated_duration(container, stream)
    if end < expected - _TOLERANCE_S:
        raise InputError(f"{path}: truncated: {end:.1f} of {expected:.1f} seconds")


def _stated_duration(container: InputContainer, stream: VideoStream) -> float:
    """Return the end time in the header of the file; seconds, 0 if it states none."""
    if not any(name in container.format.name for name in _STATE_DURATION):
        return 0.0
    by_frames = stream.frames / stream.average_rate if stream.average_rate else 0
    from_avi = by_frames if container.format.name == "avi" else 0
    return float(max(Fraction(container.duration or 0, av.time_base), from_avi))


def _time_base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 90_000)


def _upright(image: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Apply the display matrix, with which cameras describe how they were held."""
    side_data: Mapping[Any, Any] = frame.side_data  # the types of PyAV lack this key
    if "DISPLAYMATRIX" not in side_data:
        return image
    a, b, _, c, d = struct.unpack("=5i", bytes(side_data["DISPLAYMATRIX"])[:20])
    if a * d < b * c:  # it mirrors
        image = image[::-1]
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


@contextlib.contextmanager
def explain_errors(path: Path, verb: str) -> Iterator[None]:
    """Turn errors of FFmpeg into InputErrors; a full disk and the like stay OSErrors."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError) and verb == "encoded":
            error.filename = str(path)
            raise
        raise InputError(f"{path}: cannot be {verb}: {error.strerror or error}") from None
