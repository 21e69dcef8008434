"""Damaged EXIF data and long text chunks do not stop an image from being read."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.inference.image_files import read_image
from roadseg.prepare.images.decoding import (
    open_image,
    read_orientation,
    to_upright_rgb,
    upright_size,
)
from roadseg.system.errors import InputError
from tests.factories import ROOT, write_params
from tests.prepare.test_hostile_images import IMAGE, MASK, chunk, encode, insert_chunk

LITTLE, BIG = b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"
ROTATED = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
"""A directory entry: the orientation is 6, a quarter turn."""
OTHER = struct.pack("<HHI4s", 0x010F, 2, 4, b"abc\0")
DAMAGED = {
    "zeros": bytes(30),
    "garbage": bytes(range(100, 200)),
    "half a header": b"II*",
    "only a header": LITTLE,
    "cut directory": LITTLE + b"\2\0" + OTHER + ROTATED[:9],
    "no directory entries": LITTLE + b"\2\0",
    "offset outside": b"MM\0*\xff\xff\xff\xff" + bytes(30),
}
INTACT = {
    "nothing": (b"", 1),
    "little endian": (LITTLE + b"\2\0" + OTHER + ROTATED, 6),
    "big endian": (BIG + b"\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0), 6),
    "prefix twice": (b"Exif\0\0" + LITTLE + b"\1\0" + ROTATED, 6),
    "cut after the orientation": (LITTLE + b"\2\0" + ROTATED + OTHER[:5], 6),
    "no orientation": (LITTLE + b"\1\0" + OTHER, 1),
    "orientation 9": (LITTLE + b"\1\0" + ROTATED.replace(b"\6", b"\x09"), 1),
    "orientation of another type": (LITTLE + b"\1\0" + ROTATED.replace(b"\3", b"\x05"), 1),
    # in a JPEG without a resolution, Pillow looks for one here
    "resolution of another type": (
        LITTLE
        + b"\2\0"
        + struct.pack("<HHI4s", 0x011A, 2, 2, b"7\0\0\0")
        + struct.pack("<HHIHH", 0x0128, 3, 1, 2, 0),
        1,
    ),
}
KINDS = ("JPEG", "JPEG with a resolution", "PNG", "PNG, as ImageMagick writes it", "WebP")
KINDS += ("PNG, as ExifTool writes it",)
LONG = b"z" * 1_500_000


def with_exif(kind: str, exif: bytes) -> bytes:
    """Encode an image of 20x40 pixels with EXIF data that Pillow would not write."""
    image = Image.new("RGB", (40, 20), (200, 100, 0))
    if kind == "PNG":
        return insert_chunk(encode(image), b"eXIf", exif)
    if "ExifTool" in kind:  # after the pixels
        whole = encode(image)
        return whole[:-12] + chunk(b"eXIf", exif) + whole[-12:]
    if kind.startswith("PNG"):
        text = f"Raw profile type exif\0\nexif\n{len(exif):8}\n{exif.hex()}\n"
        return insert_chunk(encode(image), b"tEXt", text.encode())
    if kind == "WebP":
        return encode(image, "WEBP", exif=b"Exif\0\0" + exif)
    data = encode(image, "JPEG", **({"dpi": (72, 72)} if "resolution" in kind else {}))
    segment, end = b"Exif\0\0" + exif, 4 + int.from_bytes(data[4:6], "big")  # of APP0
    return data[:end] + struct.pack(">HH", 0xFFE1, len(segment) + 2) + segment + data[end:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_exif_data_is_ignored_with_a_warning(capsys, kind: str, damage: str):
    image = read_image(io.BytesIO(with_exif(kind, DAMAGED[damage])), "a.jpg")
    assert image.shape == (20, 40, 3)
    assert np.abs(image.astype(int) - (200, 100, 0)).max() < 9
    warning = "warning: a.jpg: ignoring damaged EXIF data; the image is not rotated\n"
    assert capsys.readouterr() == ("", warning)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", INTACT)
def test_orientation_is_read_from_intact_exif_data(capsys, kind: str, content: str):
    exif, orientation = INTACT[content]
    image = read_image(io.BytesIO(with_exif(kind, exif)), "a.jpg")
    assert image.shape == ((40, 20, 3) if orientation == 6 else (20, 40, 3))
    assert capsys.readouterr() == ("", "")


def test_size_of_a_png_with_exif_data_after_the_pixels_is_that_of_the_rotated_image():
    data = with_exif("PNG, as ExifTool writes it", INTACT["little endian"][0])
    with open_image(io.BytesIO(data), "a.png", 10**4) as image:
        assert upright_size(image) == (40, 20)
        assert np.asarray(to_upright_rgb(image, "a.png")).shape == (40, 20, 3)


def test_orientation_agrees_with_pillow():
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F], exif[0x8769] = orientation, "a camera", {0x9286: b"comment"}
        with Image.open(io.BytesIO(encode(Image.new("L", (4, 4)), "JPEG", exif=exif))) as image:
            found = image.getexif().get(0x0112)
            assert read_orientation(image) == (found if 1 <= found <= 8 else 1)


def test_invalid_hex_digits_are_damaged_exif_data(capsys):
    text = b"Raw profile type exif\0\nexif\n      4\nxyz\n"
    data = insert_chunk(encode(Image.new("RGB", (40, 20))), b"tEXt", text)
    assert read_image(io.BytesIO(data), "a.png").shape == (20, 40, 3)
    assert capsys.readouterr().err.startswith("warning: a.png: ignoring damaged EXIF data")


@pytest.mark.parametrize(
    ("name", "start"),
    [(b"iCCP", b"profile\0\0"), (b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0")],
)
@pytest.mark.parametrize("after_pixels", [False, True])
def test_png_with_a_long_text_chunk_is_read(name: bytes, start: bytes, after_pixels: bool):
    whole, text = encode(Image.new("RGB", (40, 20), (9, 8, 7))), start + zlib.compress(LONG)
    at = len(whole) - 12 if after_pixels else 33  # before IEND, or after IHDR
    data = whole[:at] + chunk(name, text) + whole[at:]
    assert (read_image(io.BytesIO(data), "a.png") == (9, 8, 7)).all()


@pytest.mark.parametrize(("name", "start"), [(b"iCCP", b"profile\0\0"), (b"zTXt", b"Comment\0\0")])
def test_bomb_in_a_text_chunk_takes_little_memory(name: bytes, start: bytes):
    bomb = start + zlib.compress(bytes(400 << 20), 1)
    whole = insert_chunk(encode(Image.new("RGB", (40, 20))), name, bomb)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a.png: cannot be decoded: Decompressed data too large"):
        read_image(io.BytesIO(whole), "a.png")
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()


def test_fetch_and_remap_accept_damaged_metadata(raw_images: Path, tmp_path: Path):
    """Run the stages in processes of their own, because pytest makes Pillow's warnings errors."""
    image, mask = (raw_images / IMAGE).read_bytes(), (raw_images / MASK).read_bytes()
    (raw_images / IMAGE).write_bytes(insert_chunk(image, b"eXIf", DAMAGED["cut directory"]))
    mask = insert_chunk(mask, b"zTXt", b"a\0\0" + zlib.compress(LONG))
    (raw_images / MASK).write_bytes(insert_chunk(mask, b"eXIf", DAMAGED["zeros"]))
    write_params(tmp_path / "params.yaml", data__source=str(raw_images))
    paths = {"--params": "params.yaml", "--pipeline": ROOT / "dvc.yaml", "--out": "raw"}
    options = {**paths, "--splits": "splits", "--downloads": ".downloads"}
    fetch = run("stages.fetch", tmp_path, options)
    assert (fetch.returncode, fetch.stderr) == (0, "")
    paths = {"--params": "params.yaml", "--raw": "raw", "--classes": ROOT / "classes"}
    remap = run("stages.remap", tmp_path, {**paths, "--out": "prepared", "--frequency": "f.csv"})
    warning = f"warning: raw/{IMAGE}: ignoring damaged EXIF data; the image is not rotated\n"
    assert (remap.returncode, remap.stderr) == (0, warning)


def run(module: str, folder: Path, options: dict[str, object]) -> subprocess.CompletedProcess[str]:
    arguments = [str(text) for option in options.items() for text in option]
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
    )
