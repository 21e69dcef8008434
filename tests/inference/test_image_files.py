import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from roadseg.inference.image_files import (
    count_skipped_types,
    find_images,
    read_image,
    select_evenly,
)
from roadseg.system.errors import InputError
from tests.factories import ROOT


def make_corner_image(mode: str = "RGB") -> Image.Image:
    """40 x 20 pixels, the first of them white."""
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("png", {}),
        ("jpg", {"quality": 100}),
        ("webp", {"lossless": True}),
        ("bmp", {}),
        ("tiff", {}),
        ("gif", {}),
    ],
)
def test_every_format_is_read(tmp_path: Path, ending: str, options: dict):
    make_corner_image().save(tmp_path / f"a.{ending}", **options)
    image = read_image(tmp_path / f"a.{ending}", "a")
    assert (image.shape, image.dtype) == ((20, 40, 3), np.uint8)
    assert image[0, 0].min() > 150
    assert image[10:].max() < 30


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_is_converted_to_rgb(mode: str):
    file = io.BytesIO()
    make_corner_image(mode).save(file, format="JPEG" if mode == "CMYK" else "PNG")
    assert read_image(file, "a").shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("orientation", "shape", "corner"),
    [
        (1, (20, 40), (0, 0)),
        (2, (20, 40), (0, -1)),
        (3, (20, 40), (-1, -1)),
        (4, (20, 40), (-1, 0)),
        (5, (40, 20), (0, 0)),
        (6, (40, 20), (0, -1)),
        (7, (40, 20), (-1, -1)),
        (8, (40, 20), (-1, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_image_is_rotated_by_its_exif_orientation(kind: str, orientation, shape, corner):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    make_corner_image().save(file, format=kind, exif=exif, lossless=True)
    image = read_image(file, "a")
    assert image.shape[:2] == shape
    assert image[corner].tolist() == [255] * 3
    assert image.sum() == 255 * 3


@pytest.mark.parametrize("compressed", [False, True])
def test_exif_orientation_written_by_imagemagick_is_read(compressed: bool):
    """It is a text chunk: a name, a length and hexadecimal digits."""
    exif, file, text = Image.Exif(), io.BytesIO(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    data = exif.tobytes()
    text.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n", compressed)
    make_corner_image().save(file, format="PNG", pnginfo=text)
    image = read_image(file, "a")
    assert image.shape == (40, 20, 3)
    assert image[0, -1].tolist() == [255] * 3


def test_png_with_a_wrong_checksum_raises_an_error():
    """Pillow ignores the checksum of the chunk and compares only that of zlib."""
    file = io.BytesIO()
    make_corner_image().save(file, format="PNG")
    data = bytearray(file.getvalue())
    data[data.index(b"IEND") - 5] ^= 1  # the checksum of the pixels
    with pytest.raises(InputError, match=r"a: cannot be decoded: .*checksum"):
        read_image(io.BytesIO(data), "a")


_READ_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from roadseg.system.errors import InputError
from roadseg.inference.image_files import read_image
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
try:
    read_image(Path(sys.argv[1]), "a")
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
def test_out_of_memory_while_reading_raises_an_error(tmp_path: Path):
    Image.new("L", (13_000, 13_000)).save(tmp_path / "a.png")
    command = [sys.executable, "-c", _READ_IN_LITTLE_MEMORY, str(tmp_path / "a.png")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "a: out of memory; an image of fewer pixels needs less\n"
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a: not a PNG, JPEG, BMP, TIFF, GIF or WebP image"),
        (b"GIF89a" + bytes(100), "a: cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a: not a PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a: "),
    ],
)
def test_other_files_raise_an_error_of_one_line(content: bytes, message: str):
    with pytest.raises(InputError, match=message) as caught:
        read_image(io.BytesIO(content), "a")
    assert "\n" not in str(caught.value)


def test_truncated_16_bit_and_missing_images_raise_an_error(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    with pytest.raises(InputError, match=r"a: cannot be decoded: .*truncated"):
        read_image(io.BytesIO(whole[: len(whole) // 2]), "a")
    Image.fromarray(np.zeros((20, 20), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="mode I;16; expected color or gray of 8 bits, convert it"):
        read_image(tmp_path / "deep.png", "a")
    with pytest.raises(InputError, match=r"a: cannot be read: No such file"):
        read_image(tmp_path / "none.png", "a")


def test_alpha_is_dropped_as_in_remap():
    for image in (Image.new("RGBA", (20, 20), (255, 0, 0, 0)), Image.new("P", (20, 20), 0)):
        file = io.BytesIO()
        if image.mode == "P":
            image.putpalette([255, 0, 0])
        extra = {"transparency": b"\0"} if image.mode == "P" else {}
        image.save(file, format="PNG", **extra)
        assert (read_image(file, "a") == (255, 0, 0)).all()


@pytest.mark.filterwarnings("ignore::UserWarning")  # as the program does
def test_damaged_exif_data_are_ignored_or_raise_an_error():
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    make_corner_image().save(file, format="JPEG", exif=exif)
    whole, rng = bytearray(file.getvalue()), np.random.default_rng(0)
    begin = whole.index(b"Exif")
    for _ in range(500):
        damaged = whole.copy()
        for offset in rng.integers(begin, begin + 80, 4):
            damaged[offset] = rng.integers(256)
        with contextlib.suppress(InputError):
            assert read_image(io.BytesIO(damaged), "a").shape in ((20, 40, 3), (40, 20, 3))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def find_names(*arguments: Path, out: Path | None = None) -> list[str]:
    return [source.name for source in find_images([str(path) for path in arguments], out)]


def test_files_folders_and_patterns_are_found(tmp_path: Path):
    touch(tmp_path, "b.png", "a.JPG", "deep/c.webp", "notes.txt", "deep/d.jpeg", "._b.png")
    assert find_names(tmp_path) == ["a", "b", "deep/c", "deep/d"]
    assert sorted(find_names(tmp_path / "**/*", tmp_path / "b.png")) == ["a", "b", "c", "d"]
    assert find_names(tmp_path / "notes.txt") == ["notes"]


def test_hidden_files_and_folders_are_skipped_below_an_argument(tmp_path: Path):
    hidden = (".a.png", ".ipynb_checkpoints/a.png", "deep/.thumbnails/a.png", ".Trash/files/a.png")
    touch(tmp_path, "a.png", "deep/b.png", *hidden, "deep/.cache/notes.txt")
    for folder in (tmp_path, tmp_path / "**/*"):
        assert {name.rpartition("/")[2] for name in find_names(folder)} == {"a", "b"}
        assert len(find_names(folder)) == 2
    assert not count_skipped_types([str(tmp_path)])
    assert find_names(tmp_path / ".Trash") == ["files/a"]
    assert find_names(tmp_path / ".a.png") == [".a"]


def test_results_of_an_earlier_run_are_skipped_but_not_other_images_in_out(tmp_path: Path):
    touch(tmp_path, "a.png", "color/a.png", "label_ids/a.png", "overlay/a.jpg")
    touch(tmp_path, "deep/color/b.png", "probabilities/a.npy")
    (tmp_path / "classes.json").write_text("[]")
    for folder in (tmp_path, tmp_path / "deep/.."):
        assert find_names(folder, out=tmp_path) == ["a", "deep/color/b"]
        assert not count_skipped_types([str(folder)], tmp_path)
    assert sorted(find_names(tmp_path / "**/*", out=tmp_path)) == ["a", "b"]
    with pytest.raises(InputError, match="no images found"):
        find_names(tmp_path / "color", out=tmp_path)


def test_folders_of_the_user_that_results_could_overwrite_raise_an_error(tmp_path: Path):
    touch(tmp_path, "a.png", "color/a.png", "own/models.json")
    with pytest.raises(InputError, match=r"models.json: exists, but predict did not write it"):
        find_names(tmp_path, out=tmp_path / "own")
    with pytest.raises(InputError, match=r"color: exists, but predict did not write it \(there is"):
        find_names(tmp_path, out=tmp_path)
    assert find_names(tmp_path) == ["a", "color/a"]
    for content in ("", '{"void": null}', '[{"name": "road"}]'):
        (tmp_path / "classes.json").write_text(content)
        with pytest.raises(InputError, match=r"color: exists, but predict did not write it"):
            find_names(tmp_path, out=tmp_path)
    (tmp_path / "own/models.json").rename(tmp_path / "own/classes.json")
    with pytest.raises(InputError, match=r"classes.json: exists, but predict did not write it"):
        find_names(tmp_path, out=tmp_path / "own")


def test_link_to_a_missing_file_is_listed_and_nested_folders_are_counted_once(tmp_path: Path):
    touch(tmp_path, "a.png", "deep/b.txt")
    (tmp_path / "c.png").symlink_to("missing.png")
    assert find_names(tmp_path) == ["a", "c"]
    assert count_skipped_types([str(tmp_path), str(tmp_path / "deep")]) == {".txt": 1}


def test_arguments_without_images_and_duplicate_names_raise_an_error(tmp_path: Path):
    touch(tmp_path, "one/a.png", "two/a.png")
    with pytest.raises(InputError, match=r"two/a.png: .* the same name as those of .*one/a.png"):
        find_names(tmp_path / "one", tmp_path / "two")
    with pytest.raises(InputError, match="no images found; expected"):
        find_names(tmp_path / "*.png")
    with pytest.raises(InputError, match=r"none\.mp4: no such file or directory$"):
        find_names(tmp_path / "none.mp4")


def test_select_evenly_includes_the_first_and_the_last():
    ids = [str(i) for i in range(20)]
    assert select_evenly(ids, 5) == ["0", "5", "10", "14", "19"]
    assert select_evenly(ids[:3], 5) == ["0", "1", "2"]
    assert select_evenly([], 5) == []
