"""Prediction of videos, with decoding and encoding in threads.

Shapes: K classes, H and W pixels.
"""

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Never

import numpy as np
from tqdm import tqdm

from roadseg.inference.colors import colorize, overlay
from roadseg.inference.image_files import SUFFIXES, Source, find_images, read_image
from roadseg.inference.predictor import Predictor
from roadseg.inference.video_reader import Frame, FrameStream, open_video
from roadseg.inference.video_writer import create_video
from roadseg.system.errors import InputError
from roadseg.system.ordered_map import ordered_map

DEFAULT_RATE = Fraction(10)
"""Frames per second of a video made of images, as in KITTI."""
_AHEAD = 3
"""Frames decoded ahead in addition to a batch, and drawn frames that wait for the encoder."""


@contextlib.contextmanager
def open_frames(arguments: Sequence[str], rate: Fraction | None = None) -> Iterator[FrameStream]:
    """Open one video file, or images as a video, sorted by the numbers in their names.

    Args:
        rate: frames per second, of images only.

    Raises:
        InputError: as `open_video` and `find_images`, or there are several videos.
    """
    first = Path(arguments[0])
    if first.is_file() and first.suffix.lower() not in SUFFIXES:
        if len(arguments) > 1:
            raise InputError(f"{arguments[1]}: one video is predicted at a time; run it again")
        if rate is not None:
            raise InputError(f"--fps: {first} is a video, whose times are kept")
        with open_video(first) as stream:
            yield stream
    else:
        rate = rate or DEFAULT_RATE
        sources = sorted(find_images(arguments), key=_by_numbers)
        frames = _read_images(sources)
        yield FrameStream(arguments[0], frames, 1 / rate, rate, len(sources), Counter())


def _by_numbers(source: Source) -> list[tuple[int, str]]:
    """Return a key that sorts frame2 before frame10."""
    parts = re.split("([0-9]+)", str(source.path))
    return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]


def _read_images(sources: Sequence[Source]) -> Iterator[Frame]:
    """Read the images as frames; raise InputError if one has another size than the first."""
    shape = None
    for pts, source in enumerate(sources):
        image = read_image(source.path, source.path)
        shape = shape or image.shape
        if image.shape != shape:
            raise InputError(
                f"{source.path}: {image.shape[0]}x{image.shape[1]} pixels, but {sources[0].path} "
                f"has {shape[0]}x{shape[1]}; the frames of a video have one size"
            )
        yield Frame(image, pts, 1)


def predict_video(
    predictor: Predictor, stream: FrameStream, out: Path, batch_size: int, draw: str
) -> tuple[int, np.ndarray]:
    """Predict the frames of `stream`, and write the video `out` with the times of the frames.

    Memory does not depend on the number of frames. If a frame fails, nothing is written.

    Args:
        draw: "overlay" or "color".

    Returns:
        Number of frames, and number of pixels predicted as each class, (K,) int64.
    """
    num_frames, pixels = 0, np.zeros(256, dtype=np.int64)
    colors = predictor.class_map.colors

    def predict_frames(frames: Iterator[Frame]) -> Iterator[tuple[Frame, np.ndarray]]:
        while batch := list(itertools.islice(frames, batch_size)):
            try:
                class_ids = predictor.class_ids([frame.image for frame in batch])
            except InputError as error:
                raise InputError(f"{stream.name}: {error}") from None
            yield from zip(batch, class_ids, strict=True)

    with (
        create_video(out, stream.time_base, stream.rate) as write,
        ThreadPoolExecutor(1) as decoder,
        ThreadPoolExecutor(1) as encoder,
        _progress_bar(stream) as bar,
    ):

        def draw_frame(predicted: tuple[Frame, np.ndarray]) -> np.ndarray:
            frame, class_ids = predicted
            if draw == "overlay":
                image = overlay(frame.image, class_ids, colors)
            else:
                image = colorize(class_ids, colors)
            write(frame._replace(image=image))
            return np.bincount(class_ids.reshape(-1), minlength=256)

        frames = _read_ahead(decoder, stream.frames, batch_size + _AHEAD)
        for counts in ordered_map(encoder, draw_frame, predict_frames(frames), _AHEAD):
            num_frames, pixels = num_frames + 1, pixels + counts
            bar.update()
    return num_frames, pixels[: predictor.class_map.num_classes]


def _progress_bar(stream: FrameStream) -> "tqdm[Never]":
    return tqdm(total=stream.num_frames, desc="predict", unit="frame", leave=False, disable=None)


def _read_ahead(pool: ThreadPoolExecutor, frames: Iterator[Frame], ahead: int) -> Iterator[Frame]:
    """Yield `frames`, taken in the thread of `pool`, at most `ahead` of them early."""
    for frame in ordered_map(pool, lambda _: next(frames, None), itertools.repeat(None), ahead):
        if frame is None:
            return
        yield frame
