"""Images and masks of every kind that users have: read correctly, or refused by name."""

import io
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.config.class_map import read_class_map
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.fetch.file_patterns import KITTI, FilePatterns
from roadseg.prepare.fetch.source import fetch
from roadseg.prepare.remap import remap_dataset
from roadseg.system.errors import InputError
from tests.factories import LIMITS, ROOT, STORE
from tests.prepare.test_source import SAMPLE, tree

KITTI12 = read_class_map(ROOT / "classes/kitti12.yaml")
NAME = "000001_10"  # 34x50
IMAGE, MASK = f"training/image_2/{NAME}.png", f"training/semantic/{NAME}.png"
JPEGS = FilePatterns(images="training/image_2/{id}.jpg", masks=KITTI.masks, test_images=None)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def insert_chunk(image: bytes, kind: bytes, data: bytes) -> bytes:
    """Insert a chunk after the header of a PNG."""
    return image[:33] + chunk(kind, data) + image[33:]


def png(depth: int, color: int, rows: list[bytes], width: int, interlaced: bool = False) -> bytes:
    """Encode a PNG from scanlines; Pillow cannot write some kinds."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, color, 0, 0, int(interlaced))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def png_with_size(width: int, height: int) -> bytes:
    """Write a PNG whose header declares this size."""
    whole = bytearray(encode(Image.new("L", (4, 4))))
    struct.pack_into(">II", whole, 16, width, height)
    struct.pack_into(">I", whole, 29, zlib.crc32(whole[12:29]))
    return bytes(whole)


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def read_image(root: Path) -> Image.Image:
    return Image.open(root / IMAGE).convert("RGB")


def prepare(root: Path, folder: Path, naming: FilePatterns = KITTI) -> PreparedDataset:
    """Run fetch and remap."""
    fetch(str(root), None, naming, LIMITS, SAMPLE, folder / "raw", STORE, set())
    remap_dataset(folder / "raw", folder / "prepared", KITTI12, 1.0)
    return PreparedDataset(folder / "prepared")


def transparent_palette(image: Image.Image) -> bytes:
    return encode(image.quantize(64), transparency=bytes([0, 128, 255]))


ACCEPTED: dict[str, Callable[[Image.Image], bytes]] = {
    "RGBA": lambda p: encode(p.convert("RGBA")),
    "transparent RGB": lambda p: encode(p, transparency=(0, 255, 50)),
    "gray": lambda p: encode(p.convert("L")),
    "gray and alpha": lambda p: encode(p.convert("LA")),
    "black and white": lambda p: encode(p.convert("1")),
    "palette": lambda p: encode(p.quantize(64)),
    "palette of 4 bits": lambda p: encode(p.quantize(16), bits=4),
    "transparent palette": transparent_palette,
    "16 bits a color": lambda p: png(
        16, 2, [np.asarray(p)[y].repeat(2, 1).tobytes() for y in range(p.height)], p.width
    ),
    "JPEG called PNG": lambda p: encode(p, "JPEG"),
    "progressive JPEG": lambda p: encode(p, "JPEG", progressive=True),
    "CMYK JPEG": lambda p: encode(p.convert("CMYK"), "JPEG"),
    "gray JPEG": lambda p: encode(p.convert("L"), "JPEG"),
    "BMP": lambda p: encode(p, "BMP"),
    "TIFF": lambda p: encode(p, "TIFF"),
    "compressed TIFF": lambda p: encode(p, "TIFF", compression="tiff_lzw"),
    "GIF": lambda p: encode(p.quantize(64), "GIF"),
    "transparent GIF": lambda p: encode(p.quantize(64), "GIF", transparency=3),
    "WebP": lambda p: encode(p, "WEBP"),
    "with bytes after the end": lambda p: encode(p) + b"more after the end",
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_image_of_every_kind_is_read(raw_images: Path, tmp_path: Path, kind: str, recwarn):
    (raw_images / IMAGE).write_bytes(ACCEPTED[kind](read_image(raw_images)))
    with Image.open(raw_images / IMAGE) as image:
        rgb = image.convert("RGBA").convert("RGB") if image.mode == "P" else image
        expected = np.asarray(rgb.convert("RGB"))
    found = prepare(raw_images, tmp_path).image(NAME)
    assert found.shape == (34, 50, 3)
    assert np.array_equal(found, expected)
    assert not recwarn.list


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_rotated_image_is_aligned_with_its_mask(
    raw_images: Path, tmp_path: Path, kind: str, orientation: int
):
    """The mask was drawn on the upright image."""
    ways = ["", "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90"]
    way = [*ways, "TRANSVERSE", "ROTATE_270"][orientation - 1]
    upright = read_image(raw_images)
    stored = upright.transpose(Image.Transpose[way]) if way else upright
    (raw_images / IMAGE).write_bytes(encode(stored, kind, exif=exif_with(orientation)))
    found = prepare(raw_images, tmp_path).image(NAME).astype(int)
    assert np.abs(found - np.asarray(upright)).mean() < (1 if kind == "PNG" else 40)
    assert found.shape == (34, 50, 3)


def test_interlaced_mask_is_read(raw_images: Path, tmp_path: Path):
    path = raw_images / MASK
    ids = np.asarray(Image.open(path))
    passes = []
    for top, left, down, right in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):  # fmt: skip
        passes += [ids[y, left::right].tobytes() for y in range(top, ids.shape[0], down)]
    woven = bytearray(png(8, 0, passes, ids.shape[1], interlaced=True))
    struct.pack_into(">I", woven, 20, ids.shape[0])
    struct.pack_into(">I", woven, 29, zlib.crc32(woven[12:29]))
    before = prepare(raw_images, tmp_path).mask(NAME).copy()
    path.write_bytes(bytes(woven))
    shutil.rmtree(tmp_path / "prepared")
    assert np.array_equal(prepare(raw_images, tmp_path).mask(NAME), before)


def test_palette_mask_of_4_bits_keeps_its_indices(raw_images: Path, tmp_path: Path):
    ids = np.zeros((34, 50), np.uint8)
    ids[:, 25:] = 7
    mask = Image.fromarray(ids)
    mask.putpalette(list(range(255, 207, -1)))
    mask.save(raw_images / MASK, bits=4)
    assert set(np.unique(prepare(raw_images, tmp_path).mask(NAME))) == {0, 1}


def write(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content(root)) and None


def mask_as(kind: str = "PNG", mode: str = "L", **options: object) -> Callable[[Path], bytes]:
    return lambda root: encode(Image.open(root / MASK).convert(mode), kind, **options)


def zeros(dtype: type) -> Callable[[Path], bytes]:
    return lambda _: encode(Image.fromarray(np.zeros((34, 50), dtype)))


def truncate(name: str, fraction: float) -> Callable[[Path], bytes]:
    return lambda root: (root / name).read_bytes()[: int((root / name).stat().st_size * fraction)]


def mask_with(label_id: int) -> Callable[[Path], bytes]:
    def content(root: Path) -> bytes:
        ids = np.asarray(Image.open(root / MASK)).copy()
        ids[3, 4:9] = label_id
        return encode(Image.fromarray(ids))

    return content


def copy(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: shutil.copy(root / source, root / target) and None


def flip_bits(name: str, at: int) -> Callable[[Path], bytes]:
    def content(root: Path) -> bytes:
        data = bytearray((root / name).read_bytes())
        data[at] ^= 0x55
        return bytes(data)

    return content


def replace_image(other: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / IMAGE).unlink()
        other(root / IMAGE)

    return change


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "mask in colors": (
        write(MASK, lambda root: (root / IMAGE).read_bytes()),
        r"the pixel at row 0, column 0 has the color \[\d+, .*set data.mask_values: colors",
    ),
    "mask in 16-bit RGB": (
        write(MASK, lambda _: png(16, 2, [bytes(300)] * 34, 50)),
        f"{MASK}: unsupported mode RGB of 16 bits; save the mask as grayscale of up to 16",
    ),
    "mask of 32 bits": (
        write(MASK, lambda _: encode(Image.new("I", (50, 34)), "TIFF")),
        f"{MASK}: unsupported mode I of 32 bits",
    ),
    "mask of float": (
        write(MASK, lambda _: encode(Image.new("F", (50, 34)), "TIFF")),
        f"{MASK}: unsupported mode F of 32 bits",
    ),
    "mask in JPEG": (write(MASK, mask_as("JPEG")), f"{MASK}: JPEG compression is lossy"),
    "mask in lossy WebP": (
        write(MASK, mask_as("WEBP", "RGB")),
        f"{MASK}: WEBP compression is lossy",
    ),
    "mask in a JPEG TIFF": (
        write(MASK, mask_as("TIFF", "RGB", compression="jpeg")),
        f"{MASK}: TIFF compression is lossy",
    ),
    "mask of two frames": (
        write(MASK, mask_as("GIF", save_all=True, append_images=[Image.new("L", (50, 34), 7)])),
        f"{MASK}: has several frames",
    ),
    "image of two frames": (
        write(IMAGE, mask_as(save_all=True, append_images=[Image.new("L", (50, 34), 7)])),
        f"{IMAGE}: has several frames",
    ),
    "image of two pages": (
        write(IMAGE, mask_as("TIFF", save_all=True, append_images=[Image.new("L", (50, 34))])),
        f"{IMAGE}: has several frames or pages",
    ),
    "mask rotated": (
        write(MASK, mask_as(exif=exif_with(6))),
        f"{MASK}: rotated by its EXIF orientation",
    ),
    "mask of another size": (
        write(MASK, lambda _: encode(Image.new("L", (50, 35)))),
        f"{MASK}: 35x50 pixels, but {IMAGE} has 34x50",
    ),
    "mask without the rotation of the JPEG": (
        write(IMAGE, lambda r: encode(read_image(r), "JPEG", exif=exif_with(6))),
        f"{MASK}: 34x50 pixels, but {IMAGE} has 50x34 after its EXIF orientation 6 .a rotation. is "
        "applied; rotate the mask as well, or remove the EXIF data",
    ),
    "mask without the rotation of the TIFF": (
        write(IMAGE, lambda r: encode(read_image(r), "TIFF", tiffinfo={274: 8})),
        f"{IMAGE} has 50x34 after its EXIF orientation 8",
    ),
    "mask of 1x1": (write(MASK, lambda _: encode(Image.new("L", (1, 1)))), "1x1 pixels, but"),
    "id 34": (write(MASK, mask_with(34)), rf"{NAME}.png: label id 34 \(5 pixels\) has no class"),
    "id 100": (write(MASK, mask_with(100)), r"label id 100 \(5 pixels\) has no class"),
    "id 255": (write(MASK, mask_with(255)), r"label id 255 \(5 pixels\) has no class"),
    "gray of 16 bits": (
        write(IMAGE, zeros(np.uint16)),
        f"{IMAGE}: unsupported mode I;16; save the image",
    ),
    "a PostScript": (write(IMAGE, lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not a PNG, JPEG, BMP"),
    "text": (write(IMAGE, lambda _: b"404 not found"), f"{IMAGE}: not a PNG, JPEG, BMP"),
    "nothing": (write(IMAGE, lambda _: b""), f"{IMAGE}: not a PNG, JPEG, BMP"),
    "zeros": (write(IMAGE, lambda _: bytes(3000)), f"{IMAGE}: not a PNG, JPEG, BMP"),
    "an empty mask": (write(MASK, lambda _: b""), f"{MASK}: not a PNG, JPEG"),
    "1x1": (write(IMAGE, lambda _: encode(Image.new("RGB", (1, 1)))), "but .* has 1x1"),
    "a header of 10 bytes": (write(IMAGE, truncate(IMAGE, 0.06)), f"{IMAGE}: "),
    "half an image": (write(IMAGE, truncate(IMAGE, 0.5)), f"{NAME}.png: cannot be decoded"),
    "nearly a whole image": (write(IMAGE, truncate(IMAGE, 0.9)), f"{NAME}.png: cannot be decoded"),
    "half a mask": (write(MASK, truncate(MASK, 0.6)), f"{NAME}.png: cannot be decoded"),
    "half a JPEG": (
        write(IMAGE, lambda r: encode(read_image(r), "JPEG")[:700]),
        f"{NAME}.png: cannot be",
    ),
    "a flipped bit in the pixels": (write(IMAGE, flip_bits(IMAGE, 60)), f"{NAME}.png: cannot be"),
    "a flipped bit in the header": (write(IMAGE, flip_bits(IMAGE, 18)), f"{IMAGE}: "),
    "a flipped bit in a mask": (write(MASK, flip_bits(MASK, 60)), f"{NAME}.png: cannot be"),
    "a bomb": (
        write(IMAGE, lambda _: png_with_size(50_000, 50_000)),
        "50000x50000 pixels; the limit is",
    ),
    "a bomb for a mask": (
        write(MASK, lambda _: png_with_size(20_000, 20_000)),
        "the limit is 100 mill",
    ),
    "a bomb of the largest size": (
        write(IMAGE, lambda _: png_with_size(2**31 - 1, 2**31 - 1)),
        "pixels; the limit is 100 million",
    ),
    "no width": (write(IMAGE, lambda _: png_with_size(0, 10)), f"{IMAGE}: "),
    "a missing mask": (lambda root: (root / MASK).unlink(), f"{IMAGE} has no mask in training/sem"),
    "a missing image": (lambda root: (root / IMAGE).unlink(), f"{MASK} has no image in train"),
    "two of one name": (
        copy(IMAGE, f"training/image_2/{NAME}.jpg"),
        f"both have the id {NAME}; ids must differ",
    ),
    "two masks of one name": (
        copy(MASK, f"training/semantic/{NAME}.PNG"),
        f"both have the id {NAME}; ids must differ",
    ),
    "a JPEG among PNGs": (
        copy(IMAGE, "training/image_2/other.jpg"),
        "other.jpg' does not match training/image_2/{id}",
    ),
    "a WebP among PNGs": (
        copy(IMAGE, "training/image_2/other.webp"),
        "other.webp' does not match training/image_2/",
    ),
    "a TIFF among PNGs": (
        copy(IMAGE, "testing/image_2/other.tif"),
        "other.tif' does not match testing/image_2/",
    ),
    "a name that extends another": (
        copy(IMAGE, f"testing/image_2/{NAME}7.jpg"),
        f"{NAME}7.jpg' does not match testing/image_2",
    ),
    "capital letters": (
        copy(IMAGE, "testing/image_2/000007_10.PNG"),
        "000007_10.PNG' does not match testing/image_2",
    ),
    "a directory instead of an image": (
        replace_image(lambda path: path.mkdir()),
        f"{MASK} has no image",
    ),
    "a broken link": (
        replace_image(lambda path: path.symlink_to("gone.png")),
        f"{IMAGE}: broken symbolic link",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_invalid_image_or_mask_is_refused_by_name(raw_images: Path, tmp_path: Path, kind: str):
    spoil, message = REFUSED[kind]
    spoil(raw_images)
    before = tree(raw_images)
    with pytest.raises(InputError, match=message) as caught:
        prepare(raw_images, tmp_path)
    assert "\n" not in str(caught.value)
    assert tree(raw_images) == before


def test_undecodable_file_name_is_refused(raw_images: Path, tmp_path: Path):
    shutil.copy(raw_images / IMAGE, bytes(raw_images / "training/image_2") + b"/\xff\xfe.png")
    with pytest.raises(InputError, match=r"udcff.* does not match"):
        prepare(raw_images, tmp_path)


def test_images_of_64_million_pixels_are_read(tmp_path: Path):
    root = tmp_path / "large"
    for folder, mode in (("training/image_2", "RGB"), ("training/semantic", "L")):
        (root / folder).mkdir(parents=True)
        Image.new(mode, (8000, 8000)).save(root / folder / "a.png", compress_level=1)
    (root / "testing/image_2").mkdir(parents=True)
    limits = replace(LIMITS, pixels=64_000_000)
    fetch(str(root), None, KITTI, limits, SAMPLE, tmp_path / "raw", STORE, set())
    pixels = remap_dataset(
        tmp_path / "raw", tmp_path / "prepared", KITTI12, 0.05, limits.pixels
    ).pixels
    assert pixels.tolist() == [160_000] + [0] * 255
