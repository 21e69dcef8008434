"""Hostile videos, for predict."""

import functools
import random
import tempfile
from pathlib import Path

from roadseg.commands.main import main
from roadseg.inference.video_reader import open_video
from tests.fuzz.case import Case, CaseBuilder, Step
from tests.fuzz.mutation import mutate_bytes, truncate_bytes
from tests.fuzz.workspace import MODEL, copy_in, write_old_outputs
from tests.videos import write_video

NAME, OUT = "drive.mp4", "overlay.mp4"
FORMATS = (
    ("mp4", "libx264", "yuv420p"),
    ("mkv", "libx264", "yuv444p10le"),
    ("mkv", "ffv1", "bgr0"),
    ("avi", "mpeg4", "yuv420p"),
    ("ts", "libx264", "yuv420p"),
    ("mov", "mjpeg", "yuvj420p"),
    ("flv", "flv1", "yuv420p"),
)
NUM_FRAMES = 4


def mutate_video(rng: random.Random, work: Path) -> Case:
    data = _original(*rng.choice(FORMATS))
    return make_case(work, mutate_bytes(rng, data, rng.choice((1, 4, 40))))


def truncate_video(rng: random.Random, work: Path) -> Case:
    return make_case(work, truncate_bytes(rng, _original(*rng.choice(FORMATS))))


def make_case(work: Path, data: bytes) -> Case:
    """Predict the video `data`; a video that is accepted has as many frames as the result."""
    copy_in(work, MODEL)
    (work / NAME).write_bytes(data)
    write_old_outputs(work, OUT)
    argv = ["predict", NAME, "--out", OUT, "--model", MODEL, "--device", "cpu"]

    def check() -> None:
        found = [len(_read_sizes(work / name)) for name in (NAME, OUT)]
        assert found[0] == found[1] > 0, f"{found[1]} of {found[0]} frames"

    return Case([Step(main, argv, (OUT,))], (NAME, OUT), check)


def _read_sizes(path: Path) -> list[tuple[int, ...]]:
    with open_video(path) as stream:
        return [frame.image.shape for frame in stream.frames]


@functools.cache
def _original(suffix: str, codec: str, pixel_format: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.{suffix}")
        times = range(0, 1000 * NUM_FRAMES, 1000)
        write_video(path, times, codec=codec, pixel_format=pixel_format)
        return path.read_bytes()


KINDS: dict[str, CaseBuilder] = {
    "video: mutated": mutate_video,
    "video: truncated": truncate_video,
}
