import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from roadseg.inference.image_files import evenly_spaced, find_images, read_image
from roadseg.system.errors import InputError
from tests.factories import ROOT


def corner(mode: str = "RGB") -> Image.Image:
    """40 x 20 pixels, the first of them white."""
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("ending", "options"),
    [("png", {}), ("jpg", {"quality": 100}), ("webp", {"lossless": True})],
)
def test_kinds_that_are_read(tmp_path: Path, ending: str, options: dict):
    corner().save(tmp_path / f"a.{ending}", **options)
    picture = read_image(tmp_path / f"a.{ending}", "a")
    assert (picture.shape, picture.dtype) == ((20, 40, 3), np.uint8)
    assert picture[0, 0].min() > 150
    assert picture[10:].max() < 30


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_kind_of_colours_turns_into_rgb(mode: str):
    file = io.BytesIO()
    corner(mode).save(file, format="JPEG" if mode == "CMYK" else "PNG")
    assert read_image(file, "a").shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("orientation", "shape", "place"),
    [
        (1, (20, 40), (0, 0)),
        (3, (20, 40), (-1, -1)),
        (6, (40, 20), (0, -1)),
        (8, (40, 20), (-1, 0)),
    ],
)
def test_a_picture_is_turned_as_its_camera_was_held(orientation, shape, place):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    corner().save(file, format="PNG", exif=exif)
    picture = read_image(file, "a")
    assert picture.shape[:2] == shape
    assert picture[place].tolist() == [255] * 3
    assert picture.sum() == 255 * 3


@pytest.mark.parametrize("compressed", [False, True])
def test_a_turn_that_imagemagick_wrote_is_seen(compressed: bool):
    """As text, in lines of 72 digits behind a name and a length."""
    exif, file, text = Image.Exif(), io.BytesIO(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    data = exif.tobytes()
    text.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n", compressed)
    corner().save(file, format="PNG", pnginfo=text)
    picture = read_image(file, "a")
    assert picture.shape == (40, 20, 3)
    assert picture[0, -1].tolist() == [255] * 3


def test_a_png_whose_checksum_differs_is_refused():
    """Pillow decodes it: only where zlib's own sum differs as well it notices."""
    file = io.BytesIO()
    corner().save(file, format="PNG")
    data = bytearray(file.getvalue())
    place = data.index(b"IEND") - 5  # of the pixels' checksum
    data[place] ^= 1
    with pytest.raises(InputError, match=r"a: cannot be decoded: .*checksum"):
        read_image(io.BytesIO(data), "a")


_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from roadseg.system.errors import InputError
from roadseg.inference.image_files import read_image as read_picture
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20),) * 2)
try:
    read_picture(Path(sys.argv[1]), "a")
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems set no such limit")
def test_a_picture_for_which_there_is_no_memory_is_one_line(tmp_path: Path):
    Image.new("L", (13_000, 13_000)).save(tmp_path / "a.png")
    command = [sys.executable, "-c", _LITTLE_ROOM, str(tmp_path / "a.png")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "a: out of memory; an image of fewer pixels needs less\n"
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a: not a PNG or JPEG or WEBP image"),
        (b"GIF89a" + bytes(100), "a: not a PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a: "),
    ],
)
def test_what_is_no_picture_is_one_line(content: bytes, message: str):
    with pytest.raises(InputError, match=message) as found:
        read_image(io.BytesIO(content), "a")
    assert "\n" not in str(found.value)


def test_a_truncated_picture_and_16_bits_are_refused(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    with pytest.raises(InputError, match=r"a: cannot be decoded: .*truncated"):
        read_image(io.BytesIO(whole[: len(whole) // 2]), "a")
    Image.fromarray(np.zeros((20, 20), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="mode I;16; expected colours or grey of 8 bits"):
        read_image(tmp_path / "deep.png", "a")
    with pytest.raises(InputError, match=r"a: cannot be read: No such file"):
        read_image(tmp_path / "none.png", "a")


def test_transparency_is_left_out_as_remap_does():
    for picture in (Image.new("RGBA", (20, 20), (255, 0, 0, 0)), Image.new("P", (20, 20), 0)):
        file = io.BytesIO()
        if picture.mode == "P":
            picture.putpalette([255, 0, 0])
        extra = {"transparency": b"\0"} if picture.mode == "P" else {}
        picture.save(file, format="PNG", **extra)
        assert (read_image(file, "a") == (255, 0, 0)).all()


@pytest.mark.filterwarnings("ignore::UserWarning")  # as the program does
def test_damaged_exif_data_are_one_line_or_no_matter():
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    corner().save(file, format="JPEG", exif=exif)
    whole, rng = bytearray(file.getvalue()), np.random.default_rng(0)
    begin = whole.index(b"Exif")
    for _ in range(500):
        damaged = whole.copy()
        for place in rng.integers(begin, begin + 80, 4):
            damaged[place] = rng.integers(256)
        with contextlib.suppress(InputError):
            assert read_image(io.BytesIO(damaged), "a").shape in ((20, 40, 3), (40, 20, 3))


def test_files_folders_and_patterns(tmp_path: Path):
    for name in ("b.png", "a.JPG", "deep/c.webp", "notes.txt", "deep/d.jpeg", "._b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([str(tmp_path)])
    assert [source.name for source in found] == ["a", "b", "deep/c", "deep/d"]
    found = find_images([str(tmp_path / "**/*"), str(tmp_path / "b.png")])
    assert sorted(source.name for source in found) == ["a", "b", "c", "d"]
    inside = find_images([str(tmp_path)], out=tmp_path / "deep")
    assert [source.name for source in inside] == ["a", "b"]
    assert [s.name for s in find_images([str(tmp_path / "notes.txt")])] == ["notes"]


def test_no_pictures_and_two_of_one_name_are_refused(tmp_path: Path):
    for name in ("one/a.png", "two/a.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"two/a.png: .*one/a.png has the same name"):
        find_images([str(tmp_path / "one"), str(tmp_path / "two")])
    for argument in (tmp_path / "none", tmp_path / "*.png"):
        with pytest.raises(InputError, match="no pictures; expected"):
            find_images([str(argument)])


def test_spaced_takes_the_first_and_the_last():
    ids = [str(i) for i in range(20)]
    assert evenly_spaced(ids, 5) == ["0", "5", "10", "14", "19"]
    assert evenly_spaced(ids[:3], 5) == ["0", "1", "2"]
    assert evenly_spaced([], 5) == []
