"""Hostile images and masks, for fetch (from a directory) and remap."""

import dataclasses
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from roadseg.prepare.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from tests.factories import LABEL_IDS, make_striped_pair
from tests.fuzz import png
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import check_prepared_data
from tests.fuzz.mutation import mutate_bytes, truncate_bytes
from tests.fuzz.workspace import FETCH, REMAP, TWELVE, copy_in, valid_workspace, write_old_outputs

NAME = "000000_10.png"
FOLDERS = (TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES)
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX")
MODES += ("RGBa", "La", "I;16", "I;16B", "I;16L", "I;16N")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "JPEG2000")


def make_case(
    work: Path, check: Callable[[], None] = lambda: None, *names: str, colors: int | None = None
) -> Case:
    """Build a case of fetch, then remap; `colors` is the tolerance if masks are painted."""
    copy_in(work, "params.yaml")
    if colors is not None:
        path = work / "params.yaml"
        text = path.read_text().replace("mask_values: ids", "mask_values: colors")
        path.write_text(text.replace("color_tolerance: 0", f"color_tolerance: {colors}"))
    write_old_outputs(work, "data/raw/", "data/prepared/", "plots/frequency.csv")

    def check_all() -> None:
        check_prepared_data(work)
        check()

    remap = dataclasses.replace(REMAP, may_warn=True)  # about damaged EXIF data
    return Case([FETCH, remap], names or (NAME, Path(NAME).stem), check_all)


def replace_file(
    work: Path, folder: str, data: bytes, check: Callable[[], None] = lambda: None
) -> Case:
    """Replace one file of the source by `data`."""
    copy_in(work, "pictures")
    (work / "pictures" / folder / NAME).write_bytes(data)
    return make_case(work, check)


def mutate_image(rng: random.Random, work: Path) -> Case:
    folder = rng.choice(FOLDERS)
    data = mutate_bytes(rng, original(folder))
    return replace_file(work, folder, data, lambda: check_pixels_unchanged(work, folder))


def truncate_image(rng: random.Random, work: Path) -> Case:
    folder = rng.choice(FOLDERS)
    data = truncate_bytes(rng, original(folder))
    return replace_file(work, folder, data, lambda: check_pixels_unchanged(work, folder))


CACHED = {TRAIN_IMAGES: "images", TRAIN_MASKS: "masks", TEST_IMAGES: "test_images"}


def check_pixels_unchanged(work: Path, folder: str) -> None:
    """Check the pixels of a damaged file that was accepted; PNG has checksums."""
    name = f"data/prepared/{CACHED[folder]}/{Path(NAME).stem}.npy"
    found, expected = np.load(work / name), np.load(valid_workspace() / name)
    assert found.shape == expected.shape, f"a damaged file gave the shape {found.shape}"
    assert (found == expected).all(), "a damaged file gave wrong pixels"


def original(folder: str) -> bytes:
    return (valid_workspace() / "pictures" / folder / NAME).read_bytes()


def convert_image(rng: random.Random, work: Path) -> Case:
    """Use any mode and file format of Pillow, under the name .png."""
    folder, mode, kind = rng.choice(FOLDERS), rng.choice(MODES), rng.choice(FORMATS)
    image = Image.new(mode, (48, 32)) if mode in ("PA", "La", "RGBa") or ";" in mode else None
    if image is None:
        source = Image.open(io.BytesIO(original(folder)))
        try:
            image = source.convert(mode)
        except ValueError:
            image = Image.new(mode, (48, 32))
    buffer = io.BytesIO()
    options = {"exif": _exif(rng)} if kind in ("PNG", "JPEG", "WEBP") and rng.random() < 0.3 else {}
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, SystemError):
        Image.new("RGB", (48, 32)).save(buffer, "PNG", **options)
    data = buffer.getvalue()
    return replace_file(work, folder, mutate_bytes(rng, data) if rng.random() < 0.3 else data)


def _exif(rng: random.Random) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535))
    return exif


def write_png_by_hand(rng: random.Random, work: Path) -> Case:
    """Write a valid PNG of any kind; if it is accepted, its pixels must be unchanged."""
    color_type = rng.choice(list(png.CHANNELS))
    depth = rng.choice(png.DEPTHS[color_type])
    size = rng.choice(((32, 48), (32, 48), (33, 47), (1, 1), (1, 400), (35, 32)))
    drawn = np.random.default_rng(rng.randrange(1 << 32))
    values = drawn.integers(0, 1 << depth, (*size, png.CHANNELS[color_type]))
    is_mask = rng.random() < 0.5
    if is_mask:
        values = np.array(LABEL_IDS)[values % len(LABEL_IDS)] % (1 << depth)
    chunks = png.make_chunks(values, color_type, depth, interlaced=rng.random() < 0.5)
    copy_in(work, "pictures")
    pair = make_striped_pair(*size, shift=0)
    for folder, array in zip((TRAIN_IMAGES, TRAIN_MASKS), pair, strict=True):
        Image.fromarray(array).save(work / "pictures" / folder / NAME)
    folder = TRAIN_MASKS if is_mask else TRAIN_IMAGES
    (work / "pictures" / folder / NAME).write_bytes(png.join_chunks(chunks))

    def check() -> None:
        table, _ = TWELVE.table(1 << 16)
        name = Path(NAME).with_suffix(".npy").name
        if is_mask:
            assert depth < 16 or color_type == 0, "bits were lost"
            found = np.load(work / "data/prepared/masks" / name)
            assert (found == table[values[:, :, 0]]).all(), "other class ids than were drawn"
        elif depth == 8:
            found = np.load(work / "data/prepared/images" / name)
            colors = values[:, :, :3] if color_type in (2, 6) else values[:, :, :1]
            assert (found == colors).all(), "other colors than were drawn"

    return make_case(work, check)


def use_odd_chunks(rng: random.Random, work: Path) -> Case:
    """Write a PNG with correct checksums and a malformed, huge or misplaced chunk."""
    folder = rng.choice(FOLDERS)
    color_type = rng.choice((0, 3) if folder == TRAIN_MASKS else list(png.CHANNELS))
    values = np.full((32, 48, png.CHANNELS[color_type]), 7)
    chunks = png.make_chunks(values, color_type, 8, interlaced=rng.random() < 0.2)
    for _ in range(rng.choice((1, 1, 2))):
        chunks = png.add_odd_chunk(rng, chunks) if chunks else chunks
    return replace_file(work, folder, png.join_chunks(chunks))


def use_odd_label_ids(rng: random.Random, work: Path) -> Case:
    """Write a mask of any label ids, which is valid only if the class map has all of them."""
    copy_in(work, "pictures")
    some = rng.sample(range(256), rng.randint(0, 2)) if rng.random() < 0.7 else range(256)
    ids = np.array([*LABEL_IDS, *some], dtype=np.uint8)
    mask = ids[np.arange(32 * 48).reshape(32, 48) % len(ids)]
    Image.fromarray(mask).save(work / "pictures" / TRAIN_MASKS / NAME)
    table, known = TWELVE.table()

    def check() -> None:
        assert known[ids].all(), "an id without a class was accepted"
        found = np.load(work / "data/prepared/masks" / NAME.replace(".png", ".npy"))
        assert (found == table[mask]).all()

    return make_case(work, check)


def change_layout(rng: random.Random, work: Path) -> Case:
    """Remove, rename or resize images, or replace them by directories, links and pipes."""
    copy_in(work, "pictures")
    root = work / "pictures"
    for _ in range(rng.randint(1, 2)):
        folder = root / rng.choice(FOLDERS)
        names = sorted(path for path in folder.iterdir() if path.is_file())
        if names:
            _change(rng, folder, rng.choice(names))
    return make_case(work, lambda: None, *FOLDERS, "pictures", "_10")


def _change(rng: random.Random, folder: Path, path: Path) -> None:
    kind = rng.randrange(9)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        endings = (".jpg", ".PNG", ".jpeg", ".tif", "", ".png.png", ".png~", ".JPG")
        path.rename(folder / f"{path.stem}{rng.choice(endings)}")
    elif kind == 2:
        names = ("a\nb.png", "\x1b[31m.png", "é.png", "e\u0301.png", " .png", "-.png", "{id}.png")
        (folder / rng.choice(names)).write_bytes(path.read_bytes())
    elif kind == 3:
        size = rng.choice(((1, 1), (48, 33), (31, 31), (32, 32), (3000, 32), (48, 32)))
        Image.new(rng.choice(("L", "RGB")), size).save(path, "PNG")
    elif kind == 4:
        path.unlink()
        path.mkdir()
    elif kind == 5:
        path.unlink()
        os.mkfifo(path)
    elif kind == 6:
        path.unlink()
        path.symlink_to(rng.choice(("nowhere", path.name, "/dev/null", "..", "/etc/hostname")))
    elif kind == 7:
        path.write_bytes(b"")
    else:
        os.rename(path, os.fsencode(folder) + b"/\xff\xfe.png")


ENCODERS = {
    # name of the format -> options of the lossless writer
    **{"PNG": {}, "BMP": {}, "TIFF": {}, "GIF": {"optimize": False}, "WEBP": {"lossless": True}},
}


def mutate_other_format(rng: random.Random, work: Path) -> Case:
    """Damage a BMP, TIFF, GIF or WebP file of an image or mask."""
    folder, kind = rng.choice(FOLDERS), rng.choice(list(ENCODERS)[1:])
    image = Image.open(io.BytesIO(original(folder)))
    options = dict(ENCODERS[kind])
    if kind == "TIFF":
        options["compression"] = rng.choice((None, "tiff_lzw", "packbits", "jpeg", "zstd"))
    if kind in ("TIFF", "GIF") and rng.random() < 0.2:
        options |= {"save_all": True, "append_images": [image.copy()]}
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    change = rng.choice((mutate_bytes, mutate_bytes, truncate_bytes))
    return replace_file(work, folder, change(rng, buffer.getvalue()))


def paint_mask(rng: random.Random, work: Path) -> Case:
    """Paint a mask in the colors of the class map, with noise, in any format and mode."""
    kind, tolerance = rng.choice(list(ENCODERS)), rng.choice((0, 0, 1, 8, 128))
    copy_in(work, "pictures")
    drawn = np.random.default_rng(rng.randrange(1 << 32))
    for path in sorted((work / "pictures" / TRAIN_MASKS).iterdir()):
        class_ids = TWELVE.table()[0][np.asarray(Image.open(path))]
        colors = TWELVE.colors[class_ids].astype(int)
        noise = rng.choice((0, 0, 0, 1, 9)) if path.name == NAME else 0
        colors = (colors + drawn.integers(-noise, noise + 1, colors.shape)).clip(0, 255)
        image = Image.fromarray(colors.astype(np.uint8))
        if kind == "GIF" or rng.random() < 0.3:
            image = image.quantize(256)
        elif rng.random() < 0.3 and kind != "BMP":
            image.putalpha(rng.randrange(1, 256))
        image.save(path, kind, **ENCODERS[kind])
    expected = np.load(valid_workspace() / "data/prepared/masks" / NAME.replace(".png", ".npy"))

    def check() -> None:
        found = np.load(work / "data/prepared/masks" / NAME.replace(".png", ".npy"))
        assert noise <= tolerance, "an unknown color was accepted"
        assert (found == expected).all(), "other class ids than were painted"

    return make_case(work, check, colors=tolerance)


def use_odd_palette(rng: random.Random, work: Path) -> Case:
    """Write palette masks of label ids whose palettes may differ or be short."""
    copy_in(work, "pictures")
    kind, length = rng.choice(("PNG", "BMP", "TIFF", "GIF")), rng.choice((768, 768, 3, 102))
    common = rng.randbytes(length)
    odd = rng.sample(range(length // 3), rng.choice((0, 1, length // 3)))
    differs = False
    for path in sorted((work / "pictures" / TRAIN_MASKS).iterdir()):
        mask, palette = Image.open(path), bytearray(common)
        for index in odd if path.name == NAME else ():
            palette[3 * index] ^= 1
            differs = differs or mask.histogram()[index] > 0
        mask.putpalette(bytes(palette))
        mask.save(path, kind, **ENCODERS[kind])

    def check() -> None:
        assert not differs, "palettes that differ were accepted"

    return make_case(work, check, "_10")


def use_deep_mask(rng: random.Random, work: Path) -> Case:
    """Write a mask of 16 bits, as label ids or, which is refused, as colors."""
    copy_in(work, "pictures")
    path = work / "pictures" / TRAIN_MASKS / NAME
    ids = np.asarray(Image.open(path)).astype(np.uint16)
    if rng.random() < 0.5:
        ids = ids.copy()
        ids[rng.randrange(32), rng.randrange(48)] = rng.choice((255, 256, 263, 65535))
    Image.fromarray(ids).save(path, rng.choice(("PNG", "TIFF")))
    colors = 0 if rng.random() < 0.2 else None

    def check() -> None:
        assert colors is None, "16 bits were read as a color"
        assert ids.max() < 34, "an id without a class was accepted"

    return make_case(work, check, colors=colors)


KINDS: dict[str, CaseBuilder] = {
    "image mutated": mutate_image,
    "image cut": truncate_image,
    "image modes": convert_image,
    "image by hand": write_png_by_hand,
    "image chunks": use_odd_chunks,
    "image ids": use_odd_label_ids,
    "image layout": change_layout,
    "image formats": mutate_other_format,
    "image colors": paint_mask,
    "image palettes": use_odd_palette,
    "image 16 bits": use_deep_mask,
}
