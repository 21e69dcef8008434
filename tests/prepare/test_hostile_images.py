"""Pictures and masks of every kind that people have: taken rightly, or refused by name."""

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


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png(depth: int, color: int, rows: list[bytes], width: int, interlaced: bool = False) -> bytes:
    """A PNG of just these scanlines, which Pillow may not write itself."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, color, 0, 0, int(interlaced))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def stated(width: int, height: int) -> bytes:
    """A picture whose header says it is that large."""
    whole = bytearray(encoded(Image.new("L", (4, 4))))
    struct.pack_into(">II", whole, 16, width, height)
    struct.pack_into(">I", whole, 29, zlib.crc32(whole[12:29]))
    return bytes(whole)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def colors(root: Path) -> Image.Image:
    return Image.open(root / IMAGE).convert("RGB")


def cached(root: Path, folder: Path, naming: FilePatterns = KITTI) -> PreparedDataset:
    """After fetch and remap."""
    fetch(str(root), None, naming, LIMITS, SAMPLE, folder / "raw", STORE, set())
    remap_dataset(folder / "raw", folder / "prepared", KITTI12, 1.0)
    return PreparedDataset(folder / "prepared")


def transparent_palette(picture: Image.Image) -> bytes:
    return encoded(picture.quantize(64), transparency=bytes([0, 128, 255]))


TAKEN: dict[str, Callable[[Image.Image], bytes]] = {
    "RGBA": lambda p: encoded(p.convert("RGBA")),
    "transparent RGB": lambda p: encoded(p, transparency=(0, 255, 50)),
    "grey": lambda p: encoded(p.convert("L")),
    "grey and alpha": lambda p: encoded(p.convert("LA")),
    "black and white": lambda p: encoded(p.convert("1")),
    "palette": lambda p: encoded(p.quantize(64)),
    "palette of 4 bits": lambda p: encoded(p.quantize(16), bits=4),
    "transparent palette": transparent_palette,
    "16 bits a colour": lambda p: png(
        16, 2, [np.asarray(p)[y].repeat(2, 1).tobytes() for y in range(p.height)], p.width
    ),
    "JPEG called PNG": lambda p: encoded(p, "JPEG"),
    "progressive JPEG": lambda p: encoded(p, "JPEG", progressive=True),
    "CMYK JPEG": lambda p: encoded(p.convert("CMYK"), "JPEG"),
    "grey JPEG": lambda p: encoded(p.convert("L"), "JPEG"),
    "several frames": lambda p: encoded(p, save_all=True, append_images=[p.rotate(180)]),
    "with a comment of its own": lambda p: encoded(p) + b"more after the end",
}


@pytest.mark.parametrize("kind", TAKEN)
def test_pictures_of_every_kind_are_taken(raw_images: Path, tmp_path: Path, kind: str, recwarn):
    (raw_images / IMAGE).write_bytes(TAKEN[kind](colors(raw_images)))
    with Image.open(raw_images / IMAGE) as picture:
        rgb = picture.convert("RGBA").convert("RGB") if picture.mode == "P" else picture
        expected = np.asarray(rgb.convert("RGB"))
    found = cached(raw_images, tmp_path).image(NAME)
    assert found.shape == (34, 50, 3)
    assert np.array_equal(found, expected)
    assert not recwarn.list


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_turned_picture_lies_on_its_mask(
    raw_images: Path, tmp_path: Path, kind: str, orientation: int
):
    """The mask was drawn on what one sees."""
    ways = ["", "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90"]
    way = [*ways, "TRANSVERSE", "ROTATE_270"][orientation - 1]
    seen = colors(raw_images)
    stored = seen.transpose(Image.Transpose[way]) if way else seen
    (raw_images / IMAGE).write_bytes(encoded(stored, kind, exif=turned(orientation)))
    found = cached(raw_images, tmp_path).image(NAME).astype(int)
    assert np.abs(found - np.asarray(seen)).mean() < (1 if kind == "PNG" else 40)
    assert found.shape == (34, 50, 3)


def test_grey_of_few_bits_behind_another_chunk_is_refused(raw_images: Path, tmp_path: Path):
    few = png(2, 0, [bytes(13)] * 34, 50)
    text = b"tEXta\0b"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    (raw_images / MASK).write_bytes(few[:8] + chunk + few[8:])
    with pytest.raises(InputError, match=f"{NAME}.png"):
        cached(raw_images, tmp_path)


def test_an_interlaced_picture_and_mask_are_read(raw_images: Path, tmp_path: Path):
    # one row of pixels in the seventh pass only would be wrong; 1x1 blocks: all passes of 1 pixel
    path = raw_images / MASK
    ids = np.asarray(Image.open(path))
    rows = [ids[y].tobytes() for y in range(ids.shape[0])]
    passes = []
    for top, left, down, right in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):  # fmt: skip
        passes += [ids[y, left::right].tobytes() for y in range(top, ids.shape[0], down)]
    plain = png(8, 0, rows, ids.shape[1])
    woven = bytearray(png(8, 0, passes, ids.shape[1], interlaced=True))
    struct.pack_into(">I", woven, 20, ids.shape[0])
    struct.pack_into(">I", woven, 29, zlib.crc32(woven[12:29]))
    before = plain and cached(raw_images, tmp_path).mask(NAME).copy()
    path.write_bytes(bytes(woven))
    shutil.rmtree(tmp_path / "prepared")
    assert np.array_equal(cached(raw_images, tmp_path).mask(NAME), before)


def test_palette_masks_keep_their_indices_whatever_the_depth(raw_images: Path, tmp_path: Path):
    ids = np.zeros((34, 50), np.uint8)
    ids[:, 25:] = 7
    mask = Image.fromarray(ids)
    mask.putpalette(list(range(255, 207, -1)))
    mask.save(raw_images / MASK, bits=4)
    assert set(np.unique(cached(raw_images, tmp_path).mask(NAME))) == {0, 1}


def written(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content(root)) and None


def mask_as(kind: str = "PNG", mode: str = "L", **options: object) -> Callable[[Path], bytes]:
    return lambda root: encoded(Image.open(root / MASK).convert(mode), kind, **options)


def deep(dtype: type) -> Callable[[Path], bytes]:
    return lambda _: encoded(Image.fromarray(np.zeros((34, 50), dtype)))


def shallow(depth: int) -> Callable[[Path], bytes]:
    return lambda _: png(depth, 0, [bytes(50 * depth // 8 + 1)] * 34, 50)


def cut(name: str, share: float) -> Callable[[Path], bytes]:
    return lambda root: (root / name).read_bytes()[: int((root / name).stat().st_size * share)]


def with_id(label_id: int) -> Callable[[Path], bytes]:
    def content(root: Path) -> bytes:
        ids = np.asarray(Image.open(root / MASK)).copy()
        ids[3, 4:9] = label_id
        return encoded(Image.fromarray(ids))

    return content


def copied(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: shutil.copy(root / source, root / target) and None


def flipped(name: str, at: int) -> Callable[[Path], bytes]:
    def content(root: Path) -> bytes:
        data = bytearray((root / name).read_bytes())
        data[at] ^= 0x55
        return bytes(data)

    return content


def replaced_by(other: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / IMAGE).unlink()
        other(root / IMAGE)

    return change


OF_MASKS = "a mask holds label ids in one 8-bit channel"
HINT = r"semantic_rgb/ and instance/ are other things"
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "mask in RGB": (written(MASK, mask_as(mode="RGB")), f"{MASK}: mode RGB; {OF_MASKS}.*{HINT}"),
    "mask in RGBA": (written(MASK, mask_as(mode="RGBA")), f"{MASK}: mode RGBA; {OF_MASKS}"),
    "mask with alpha": (written(MASK, mask_as(mode="LA")), f"{MASK}: mode LA; {OF_MASKS}"),
    "mask of 1 bit": (written(MASK, mask_as(mode="1")), f"{MASK}: mode 1; {OF_MASKS}"),
    "mask of 2 bits": (written(MASK, shallow(2)), f"{MASK}: grey of 2 bits; save its label ids"),
    "mask of 4 bits": (written(MASK, shallow(4)), f"{MASK}: grey of 4 bits; save its label ids"),
    "mask of 16 bits": (written(MASK, deep(np.uint16)), f"{MASK}: mode I;16; {OF_MASKS}.*{HINT}"),
    "mask in JPEG": (written(MASK, mask_as("JPEG")), f"{MASK}: not a picture .*; expected PNG$"),
    "mask turned": (written(MASK, mask_as(exif=turned(6))), f"{MASK}: its EXIF data turn it"),
    "mask of another size": (
        written(MASK, lambda _: encoded(Image.new("L", (50, 35)))),
        f"{MASK}: 35x50 pixels, but {IMAGE} has 34x50",
    ),
    "mask of 1x1": (written(MASK, lambda _: encoded(Image.new("L", (1, 1)))), "1x1 pixels, but"),
    "id 34": (written(MASK, with_id(34)), rf"{NAME}.png: label id 34 \(5 pixels\) has no class"),
    "id 100": (written(MASK, with_id(100)), r"label id 100 \(5 pixels\) has no class"),
    "id 255": (written(MASK, with_id(255)), r"label id 255 \(5 pixels\) has no class"),
    "grey of 16 bits": (written(IMAGE, deep(np.uint16)), f"{IMAGE}: mode I;16; a picture is RGB"),
    "a TIFF": (written(IMAGE, lambda r: encoded(colors(r), "TIFF")), f"{IMAGE}: not a picture of"),
    "a GIF": (written(IMAGE, lambda r: encoded(colors(r), "GIF")), f"{IMAGE}: not a picture of"),
    "a WebP": (written(IMAGE, lambda r: encoded(colors(r), "WEBP")), f"{IMAGE}: not a picture of"),
    "a BMP": (written(IMAGE, lambda r: encoded(colors(r), "BMP")), f"{IMAGE}: not a picture of"),
    "a PostScript": (written(IMAGE, lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not a picture of"),
    "text": (written(IMAGE, lambda _: b"404 not found"), f"{IMAGE}: not a picture of a known kind"),
    "nothing": (written(IMAGE, lambda _: b""), f"{IMAGE}: not a picture of a known kind"),
    "zeros": (written(IMAGE, lambda _: bytes(3000)), f"{IMAGE}: not a picture of a known kind"),
    "an empty mask": (written(MASK, lambda _: b""), f"{MASK}: not a picture of a known kind"),
    "1x1": (written(IMAGE, lambda _: encoded(Image.new("RGB", (1, 1)))), "but .* has 1x1"),
    "a header of 10 bytes": (written(IMAGE, cut(IMAGE, 0.06)), f"{IMAGE}: "),
    "half a picture": (written(IMAGE, cut(IMAGE, 0.5)), f"{NAME}.png: cannot be decoded"),
    "nearly a picture": (written(IMAGE, cut(IMAGE, 0.9)), f"{NAME}.png: cannot be decoded"),
    "half a mask": (written(MASK, cut(MASK, 0.6)), f"{NAME}.png: cannot be decoded"),
    "half a JPEG": (
        written(IMAGE, lambda r: encoded(colors(r), "JPEG")[:700]), f"{NAME}.png: cannot be"
    ),
    "a flipped bit in the pixels": (written(IMAGE, flipped(IMAGE, 60)), f"{NAME}.png: cannot be"),
    "a flipped bit in the header": (written(IMAGE, flipped(IMAGE, 18)), f"{IMAGE}: "),
    "a flipped bit in a mask": (written(MASK, flipped(MASK, 60)), f"{NAME}.png: cannot be"),
    "a bomb": (written(IMAGE, lambda _: stated(50_000, 50_000)), "50000x50000 pixels; allowed are"),
    "a bomb for a mask": (written(MASK, lambda _: stated(20_000, 20_000)), "allowed are 100 mill"),
    "a bomb of the largest size": (
        written(IMAGE, lambda _: stated(2**31 - 1, 2**31 - 1)), "pixels; allowed are 100 million"
    ),
    "no width": (written(IMAGE, lambda _: stated(0, 10)), f"{IMAGE}: "),
    "a missing mask": (lambda root: (root / MASK).unlink(), f"{IMAGE} has no mask in training/sem"),
    "a missing picture": (lambda root: (root / IMAGE).unlink(), f"{MASK} has no picture in train"),
    "two of one name": (
        copied(IMAGE, f"training/image_2/{NAME}.jpg"), f"both have the id {NAME}; ids must differ"
    ),
    "two masks of one name": (
        copied(MASK, f"training/semantic/{NAME}.PNG"), f"both have the id {NAME}; ids must differ"
    ),
    "a JPEG among PNGs": (
        copied(IMAGE, "training/image_2/other.jpg"), "other.jpg' lies where training/image_2/{id}"
    ),
    "a WebP among PNGs": (
        copied(IMAGE, "training/image_2/other.webp"), "other.webp' lies where training/image_2/"
    ),
    "a TIFF among PNGs": (
        copied(IMAGE, "testing/image_2/other.tif"), "other.tif' lies where testing/image_2/"
    ),
    "a name that continues another": (
        copied(IMAGE, f"testing/image_2/{NAME}7.jpg"), f"{NAME}7.jpg' lies where testing/image_2"
    ),
    "capital letters": (
        copied(IMAGE, "testing/image_2/000007_10.PNG"), "000007_10.PNG' lies where testing/image_2"
    ),
    "a folder for a picture": (
        replaced_by(lambda path: path.mkdir()), f"{MASK} has no picture"
    ),
    "a link that leads nowhere": (
        replaced_by(lambda path: path.symlink_to("gone.png")), f"{IMAGE}: a link to nothing"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_right_is_refused_by_name(raw_images: Path, tmp_path: Path, kind: str):
    spoil, message = REFUSED[kind]
    spoil(raw_images)
    before = tree(raw_images)
    with pytest.raises(InputError, match=message) as caught:
        cached(raw_images, tmp_path)
    assert "\n" not in str(caught.value)
    assert tree(raw_images) == before


def test_a_name_that_is_no_text_is_refused(raw_images: Path, tmp_path: Path):
    shutil.copy(raw_images / IMAGE, bytes(raw_images / "training/image_2") + b"/\xff\xfe.png")
    with pytest.raises(InputError, match=r"udcff.* is named otherwise"):
        cached(raw_images, tmp_path)


def test_pictures_of_64_million_pixels_are_taken(tmp_path: Path):
    root = tmp_path / "large"
    for folder, mode in (("training/image_2", "RGB"), ("training/semantic", "L")):
        (root / folder).mkdir(parents=True)
        Image.new(mode, (8000, 8000)).save(root / folder / "a.png", compress_level=1)
    (root / "testing/image_2").mkdir(parents=True)
    limits = replace(LIMITS, pixels=64_000_000)
    fetch(str(root), None, KITTI, limits, SAMPLE, tmp_path / "raw", STORE, set())
    pixels = remap_dataset(tmp_path / "raw", tmp_path / "prepared", KITTI12, 0.05, limits.pixels)
    assert pixels.tolist() == [160_000] + [0] * 255
