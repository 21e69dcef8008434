"""`roadseg predict` with a video as output."""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.commands.main import main
from roadseg.config.class_map import read_class_map
from roadseg.inference import video_writer
from roadseg.inference.colors import colorize, overlay
from roadseg.inference.predictor import Predictor
from roadseg.inference.video_reader import Frame, open_video
from roadseg.inference.video_writer import create_video
from roadseg.system.errors import InputError
from tests.factories import ROOT, make_striped_pair, save_model
from tests.videos import write_video

COLORS = read_class_map(ROOT / "classes/kitti12.yaml").colors
TIMES = [0, 330, 340, 2000, 9000]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture
def run(model: Path, tmp_path: Path, monkeypatch) -> Callable[..., None]:
    monkeypatch.chdir(tmp_path)
    options = ["--model", str(model), "--device", "cpu", "--precision", "fp32"]
    return lambda *arguments: main(["predict", *options, *arguments])


def read_video(path: str) -> tuple[list[Fraction], list[np.ndarray]]:
    with open_video(Path(path)) as stream:
        times, images = zip(
            *((frame.pts * stream.time_base, frame.image) for frame in stream.frames), strict=True
        )
    return list(times), list(images)


def block_means(image: np.ndarray) -> np.ndarray:
    """Average blocks of 2x2 pixels, which have one color in H.264 (4:2:0)."""
    height, width, _ = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))


def left_behind(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("out", ["overlay.mp4", "overlay.MKV"])
def test_frames_become_overlays_at_the_same_times(run, model, out: str, tmp_path, capsys):
    write_video(Path("drive.mp4"), TIMES, audio=True)
    _, images = read_video("drive.mp4")
    run("drive.mp4", "--out", out, "--batch-size", "2")
    times, found = read_video(out)
    assert times == [Fraction(time, 10_000) for time in TIMES]
    for image, drawn in zip(images, found, strict=True):
        (class_ids,) = Predictor([model], "cpu", "fp32").class_ids([image])
        expected = block_means(overlay(image, class_ids, COLORS))
        assert abs(block_means(drawn) - expected).mean() < 8  # H.264; the predictions are noise
        assert abs(block_means(image) - expected).mean() > 20
    assert left_behind(tmp_path) == {"drive.mp4", out}
    output, error = capsys.readouterr()
    assert output.startswith(f"predict: 5 frames by {model} on cpu, in {out}\n  ")
    assert output.endswith("  streams that were not copied: 1 audio\n")
    assert error == ""


def test_colors_tiles_and_ensembles_work_as_for_images(run, model, tmp_path):
    write_video(Path("drive.mp4"), [0, 1000])
    _, images = read_video("drive.mp4")
    second = save_model(tmp_path / "second.safetensors", base_channels=8)
    options = ("--model", str(second), "--tile", "64", "--tta", "--draw", "color")
    run("drive.mp4", "--out", "color.mp4", *options)
    _, found = read_video("color.mp4")
    predictor = Predictor([model, second], "cpu", "fp32", tta=True)
    for image, drawn in zip(images, found, strict=True):
        expected = block_means(colorize(predictor.class_ids([image])[0], COLORS))
        assert abs(block_means(drawn) - expected).mean() < 9  # H.264; the predictions are noise


def test_odd_sizes_get_one_more_row_and_column(run):
    write_video(Path("drive.mp4"), [0], size=(33, 47))
    run("drive.mp4", "--out", "overlay.mp4")
    _, (image,) = read_video("overlay.mp4")
    assert image.shape == (34, 48, 3)
    assert abs(image[32].astype(int) - image[33]).mean() < 4


@pytest.mark.parametrize("time_base", [Fraction(1, 10_000), Fraction(1, 90_000)])
def test_videos_are_mpeg4_without_an_encoder_for_h264(tmp_path, monkeypatch, time_base):
    monkeypatch.setattr(video_writer, "_ENCODERS", {"mpeg4": video_writer._ENCODERS["mpeg4"]})
    images = [make_striped_pair(32, 48, number)[0] for number in range(3)]
    times = [0, 6, 21]  # sixtieths of a second
    with create_video(tmp_path / "a.mp4", time_base, Fraction(10)) as write:
        for image, time in zip(images, times, strict=True):
            write(Frame(image, int(Fraction(time, 60) / time_base)))
    found_times, found = read_video(str(tmp_path / "a.mp4"))
    assert found_times == [Fraction(time, 60) for time in times]
    for image, drawn in zip(images, found, strict=True):
        assert abs(block_means(drawn) - block_means(image)).mean() < 4


def test_images_become_a_video_in_the_order_of_their_numbers(run, capsys):
    Path("frames").mkdir()
    for number in (9, 10, 100, 11):
        gray = np.full((32, 48, 3), number * 2, dtype=np.uint8)
        Image.fromarray(gray).save(f"frames/frame{number}.png")
    Path("frames/notes.txt").touch()
    run("frames", "--out", "a.mp4")
    assert capsys.readouterr().out.endswith("  skipped files of unsupported type: 1 .txt\n")
    run(
        *map(str, Path("frames").glob("*.png")),
        "--out",
        "b.mp4",
        "--fps",
        "29.97",
        "--draw",
        "color",
    )
    times, images = read_video("a.mp4")
    assert times == [Fraction(i, 10) for i in range(4)]
    means = [image.mean() for image in images]
    assert means == sorted(means)
    assert read_video("b.mp4")[0] == [Fraction(100 * i, 2997) for i in range(4)]


def test_a_frame_that_fails_leaves_the_earlier_video(run, tmp_path, monkeypatch):
    Path("overlay.mp4").write_text("of an earlier run")
    Path("frames").mkdir()
    for number, size in enumerate([(48, 32), (48, 32), (32, 48)]):
        Image.fromarray(make_striped_pair(*size, number)[0]).save(f"frames/{number}.png")
    message = r"2\.png: 32x48 pixels, but frames.0\.png has 48x32; the frames of a video have"
    with pytest.raises(InputError, match=message):
        run("frames", "--out", "overlay.mp4")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "class_ids", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run("frames/0.png", "--out", "overlay.mp4")
    assert Path("overlay.mp4").read_text() == "of an earlier run"
    assert left_behind(tmp_path) == {"overlay.mp4", "frames"}


def write_noise(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 96, 128, 3), dtype=np.uint8)
    with create_video(path, Fraction(1), Fraction(1)) as write:
        for number, image in enumerate(noise):
            write(Frame(image, number))


def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    """Simulated by the limit on the size of a file, which Unix has."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*a\.mp4'$"):
            write_noise(tmp_path / "a.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not left_behind(tmp_path)


def test_errors_of_the_predictor_name_the_video(run, tmp_path, monkeypatch):
    write_video(Path("drive.mp4"), [0])

    def refuse(*_: object) -> None:
        raise InputError("32x48 pixels: out of memory; try a smaller --tile or --scale")

    monkeypatch.setattr(Predictor, "class_ids", refuse)
    with pytest.raises(InputError, match=r"^drive\.mp4: 32x48 pixels: out of memory"):
        run("drive.mp4", "--out", "overlay.mp4")
    assert left_behind(tmp_path) == {"drive.mp4"}


def test_unsuitable_files_and_options_are_refused(run, tmp_path):
    write_video(Path("drive.mp4"), [0])
    Image.new("RGB", (48, 32)).save("a.png")
    Path("folder.mp4").mkdir()
    for arguments, message in (
        ("drive.mp4 --out drive.mp4", "--out: drive.mp4 is the video to read"),
        ("drive.mp4 --out out.webm", "--out: out.webm: videos are written as .mp4, "),
        ("drive.mp4 --out folder.mp4", "--out: folder.mp4 is a directory"),
        ("drive.mp4 --out out", "drive.mp4: is a video; name a video as --out too"),
        ("drive.mp4 a.png --out o.mp4", "a.png: one video is predicted at a time"),
        ("a.png drive.mp4 --out o.mp4", "drive.mp4: not a .* image"),
        ("drive.mp4 --out o.mp4 --fps 5", "--fps: drive.mp4 is a video, whose times are kept"),
        ("drive.mp4 --out o.mp4 --probabilities", "--probabilities: not for a video"),
        ("a.png --out out --draw color", "--draw, --fps: out is a folder; name a video"),
        ("absent.mp4 --out o.mp4", "absent.mp4: no such file or directory"),
    ):
        with pytest.raises(InputError, match=message):
            run(*arguments.split())
    assert left_behind(tmp_path) == {"drive.mp4", "a.png", "folder.mp4"}


def test_a_missing_package_is_named(run, monkeypatch):
    for module in ("predict", "reader", "writer"):
        monkeypatch.delitem(sys.modules, f"roadseg.inference.video_{module}", False)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r'package av is not installed.*"roadseg\[video\]"'):
        run("drive.mp4", "--out", "overlay.mp4")
