from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from roadseg.inference import video_reader
from roadseg.inference.video_reader import Frame, open_video
from roadseg.inference.video_writer import create_video
from roadseg.system.errors import InputError
from tests.videos import write_video


def read_frames(path: Path) -> list[Frame]:
    with open_video(path) as stream:
        return list(stream.frames)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "tolerance"),
    [
        ("a.mp4", "libx264", "yuv444p", 2),
        ("a.mkv", "libx264", "yuv444p10le", 2),
        ("a.avi", "ffv1", "bgr0", 0),
        ("b.mkv", "ffv1", "gbrp16le", 1),
    ],
)
def test_frames_are_read_as_rgb(tmp_path: Path, name, codec, pixel_format, tolerance):
    images = write_video(tmp_path / name, codec=codec, pixel_format=pixel_format)
    frames = read_frames(tmp_path / name)
    assert len(frames) == len(images)
    for frame, image in zip(frames, images, strict=True):
        assert (frame.image.shape, frame.image.dtype) == ((32, 48, 3), np.uint8)
        assert abs(frame.image - image.astype(float)).max() <= tolerance


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_times_of_a_variable_frame_rate_are_kept(tmp_path: Path, suffix: str):
    times = [0, 330, 340, 2000, 2010, 9000]
    write_video(tmp_path / f"a.{suffix}", times)
    with open_video(tmp_path / f"a.{suffix}") as stream:
        found = [frame.pts * stream.time_base for frame in stream.frames]
    assert found == [Fraction(time, 10_000) for time in times]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_display_matrix_is_applied(tmp_path: Path, rotation: int, flip: bool):
    images = write_video(tmp_path / "a.mp4", [0], rotation=rotation, flip=flip)
    (frame,) = read_frames(tmp_path / "a.mp4")
    expected = np.rot90(images[0], rotation // 90)  # counterclockwise
    expected = expected[:, ::-1] if flip else expected
    assert frame.image.shape == expected.shape
    assert abs(frame.image - expected.astype(float)).max() <= 2


def test_missing_and_repeated_times_follow_the_frame_before(tmp_path: Path, monkeypatch):
    write_video(tmp_path / "a.mp4", [0, 1000, 2000, 3000, 4000])
    decode = video_reader._decode

    def damage_times(*arguments):
        for frame, time in zip(decode(*arguments), [50, None, 900, 7000, 7000], strict=True):
            frame.pts = time
            yield frame

    monkeypatch.setattr(video_reader, "_decode", damage_times)
    assert [frame.pts for frame in read_frames(tmp_path / "a.mp4")] == [50, 1050, 2050, 7000, 8000]


@pytest.mark.parametrize("fraction", [0.4, 0.8])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "index_first.mp4"])
def test_truncated_videos_are_errors(tmp_path: Path, name: str, fraction: float):
    path, times = tmp_path / name, range(0, 60_000, 3000)
    codec, pixel_format = ("ffv1", "bgr0") if path.suffix == ".avi" else ("libx264", "yuv444p")
    images = write_video(path, times, codec=codec, pixel_format=pixel_format)
    if name == "index_first.mp4":
        with create_video(path, Fraction(1, 10_000), Fraction(3)) as write:
            for pts, image in zip(times, images, strict=True):
                write(Frame(image, pts))
    assert len(read_frames(path)) == len(images)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    messages = "cannot be|has no video stream|damaged or truncated|truncated: "
    with pytest.raises(InputError, match=f"{name}: ({messages})"):
        read_frames(path)


def test_matroska_of_unknown_size_is_read_to_its_end(tmp_path: Path):
    """As written by a program that was killed, or to a stream."""
    images = write_video(tmp_path / "a.mkv", range(0, 60_000, 3000))
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    size = data.index(b"\x18\x53\x80\x67") + 4
    assert data[size] == 1  # a size of 8 bytes
    data[size + 1 : size + 8] = b"\xff" * 7
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2])
    assert 0 < len(read_frames(tmp_path / "a.mkv")) < len(images)


def test_damaged_frames_are_errors(tmp_path: Path):
    path = tmp_path / "a.mkv"
    write_video(path, range(0, 60_000, 3000), codec="mpeg4", pixel_format="yuv420p")
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 60] = bytes(60)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"a\.mkv: damaged or truncated near frame \d"):
        read_frames(path)


def test_files_without_frames_and_playlists_are_errors(tmp_path: Path):
    write_video(tmp_path / "a.ts")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.mp4").write_text(playlist)  # would open other files and URLs
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    for name, message in (
        ("list.mp4", "cannot be read: Invalid data"),
        ("empty.mp4", "cannot be read: "),
        ("text.mp4", "cannot be read: Invalid data"),
        ("absent.mp4", "no such file"),
    ):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            read_frames(tmp_path / name)


def test_videos_without_pictures_are_errors(tmp_path: Path):
    write_video(tmp_path / "sound.mkv", [], audio=True)
    with pytest.raises(InputError, match=r"sound\.mkv: has no (frames|video stream)"):
        read_frames(tmp_path / "sound.mkv")


def test_videos_with_too_many_pixels_are_errors(tmp_path: Path, monkeypatch):
    write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(video_reader, "MAX_PIXELS", 32 * 48 - 1)
    with pytest.raises(InputError, match=r"a\.mp4: 32x48 pixels; the limit is 0\.001535 million"):
        read_frames(tmp_path / "a.mp4")


def test_other_streams_are_counted(tmp_path: Path):
    write_video(tmp_path / "a.mp4", audio=True)
    with open_video(tmp_path / "a.mp4") as stream:
        assert stream.left_out == {"audio": 1}
