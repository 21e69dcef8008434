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
_SEGMENT = b"\x18\x53\x80\x67"
"""Id of the element with the content of a Matroska file."""


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
        InputError: the file is missing, not a video or too large or truncated. The frames
            raise it if they are damaged or have different sizes.
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
        if stream.codec_context is None:
            raise InputError(f"{path}: FFmpeg has no decoder for its codec")
        stream.codec_context.options = _LIMIT
        if stream.width * stream.height > MAX_PIXELS:
            raise InputError(
                f"{path}: {stream.height}x{stream.width} pixels; the limit is "
                f"{MAX_PIXELS / 1e6:g} million"
            )
        size, stated = path.stat().st_size, _stated_bytes(path, container, stream)
        if size < stated:
            raise InputError(f"{path}: truncated: has {size} of at least {stated} bytes")
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
    aspect = stream.sample_aspect_ratio or Fraction(1)
    before: Frame | None = None
    for number, frame in enumerate(_decode(path, container, stream), 1):
        with explain_errors(path, "converted to RGB"):
            image = _upright(frame.to_ndarray(format="rgb24"), frame)
        if before is not None and before.image.shape != image.shape:
            raise InputError(f"{path}: frame {number} has another size than the first; split it")
        pts = frame.pts
        if before is not None and (pts is None or pts <= before.pts):
            pts = before.pts + period
        is_turned = image.shape[:2] != (frame.height, frame.width)
        before = Frame(image, pts or 0, frame.duration, 1 / aspect if is_turned else aspect)
        yield before
    if before is None:
        raise InputError(f"{path}: has no frames")


def _decode(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode `stream`; raise InputError if a frame is damaged."""
    number = 0
    with explain_errors(path, "decoded"):
        for packet in container.demux(stream):
            for frame in packet.decode():
                number += 1
                if frame.is_corrupt or packet.is_corrupt:
                    raise InputError(f"{path}: damaged or truncated near frame {number}")
                yield frame


def _stated_bytes(path: Path, container: InputContainer, stream: VideoStream) -> int:
    """Return the size of the file according to its content; 0 if it does not state it.

    FFmpeg ends at the end of a truncated file without an error.
    """
    names = container.format.name.split(",")
    if "mov" in names:
        return max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    with path.open("rb") as file:
        start = file.read(4096)
    if "avi" in names:
        return int.from_bytes(start[4:8], "little")
    return _segment_end(start) if "matroska" in names else 0


def _segment_end(start: bytes) -> int:
    """Return the offset at which the segment of a Matroska file ends (RFC 9559); 0 if unknown."""
    _, at, size = _ebml_element(start, 0)
    name, at, size = _ebml_element(start, at + size)
    is_known = name == _SEGMENT and size + 1 & size != 0  # all bits set: unknown, as in a stream
    return at + size if is_known else 0


def _ebml_element(data: bytes, at: int) -> tuple[bytes, int, int]:
    """Return the id of 4 bytes, the offset of the content and its size (RFC 8794, section 4)."""
    first = data[at + 4 : at + 5] or b"\xff"
    length = 9 - first[0].bit_length()
    value = int.from_bytes(data[at + 4 : at + 4 + length], "big")
    return data[at : at + 4], at + 4 + length, value & ((1 << 7 * length) - 1)


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
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise InputError(f"{path}: cannot be {verb}: {error.strerror or error}") from None
