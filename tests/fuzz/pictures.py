"""Hostile pictures and masks, for fetch from a folder and the remap after it."""

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
from tests.fuzz.case import Case, Make
from tests.fuzz.mutation import cut_bytes, mutated_bytes
from tests.fuzz.oracles import require_whole_cache
from tests.fuzz.workspace import FETCH, REMAP, TWELVE, bring, old_out, whole

NAME = "000000_10.png"
FOLDERS = (TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES)
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX")
MODES += ("RGBa", "La", "I;16", "I;16B", "I;16L", "I;16N")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "JPEG2000")


def case_of(work: Path, check: Callable[[], None] = lambda: None, *names: str) -> Case:
    """fetch from the folder as it stands, then remap."""
    bring(work, "params.yaml")
    old_out(work, "data/raw/", "data/prepared/", "plots/frequency.csv")

    def whole_and_right() -> None:
        require_whole_cache(work)
        check()

    return Case([FETCH, REMAP], names or (NAME, Path(NAME).stem), whole_and_right)


def replaced(
    work: Path, folder: str, data: bytes, check: Callable[[], None] = lambda: None
) -> Case:
    """One file of the source holds `data` instead."""
    bring(work, "pictures")
    (work / "pictures" / folder / NAME).write_bytes(data)
    return case_of(work, check)


def mutated(rng: random.Random, work: Path) -> Case:
    folder = rng.choice(FOLDERS)
    data = mutated_bytes(rng, original(folder))
    return replaced(work, folder, data, lambda: require_as_it_was(work, folder))


def cut(rng: random.Random, work: Path) -> Case:
    folder = rng.choice(FOLDERS)
    data = cut_bytes(rng, original(folder))
    return replaced(work, folder, data, lambda: require_as_it_was(work, folder))


CACHED = {TRAIN_IMAGES: "images", TRAIN_MASKS: "masks", TEST_IMAGES: "test_images"}


def require_as_it_was(work: Path, folder: str) -> None:
    """Raise AssertionError where a damaged file gave other pixels: PNG has checksums."""
    name = f"data/prepared/{CACHED[folder]}/{Path(NAME).stem}.npy"
    found, expected = np.load(work / name), np.load(whole() / name)
    assert found.shape == expected.shape, f"{found.shape} of a damaged file"
    assert (found == expected).all(), "other pixels, of a damaged file"


def original(folder: str) -> bytes:
    return (whole() / "pictures" / folder / NAME).read_bytes()


def converted(rng: random.Random, work: Path) -> Case:
    """Any of Pillow's modes, in any of its formats, still called .png."""
    folder, mode, kind = rng.choice(FOLDERS), rng.choice(MODES), rng.choice(FORMATS)
    picture = Image.new(mode, (48, 32)) if mode in ("PA", "La", "RGBa") or ";" in mode else None
    if picture is None:
        source = Image.open(io.BytesIO(original(folder)))
        try:
            picture = source.convert(mode)
        except ValueError:
            picture = Image.new(mode, (48, 32))
    buffer = io.BytesIO()
    options = {"exif": _exif(rng)} if kind in ("PNG", "JPEG", "WEBP") and rng.random() < 0.3 else {}
    try:
        picture.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, SystemError):
        Image.new("RGB", (48, 32)).save(buffer, "PNG", **options)
    data = buffer.getvalue()
    return replaced(work, folder, mutated_bytes(rng, data) if rng.random() < 0.3 else data)


def _exif(rng: random.Random) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535))
    return exif


def by_hand(rng: random.Random, work: Path) -> Case:
    """Every kind of PNG, whole: what is accepted must be what was drawn."""
    color_type = rng.choice(list(png.CHANNELS))
    depth = rng.choice(png.DEPTHS[color_type])
    size = rng.choice(((32, 48), (32, 48), (33, 47), (1, 1), (1, 400), (35, 32)))
    drawn = np.random.default_rng(rng.randrange(1 << 32))
    values = drawn.integers(0, 1 << depth, (*size, png.CHANNELS[color_type]))
    is_mask = rng.random() < 0.5
    if is_mask:
        values = np.array(LABEL_IDS)[values % len(LABEL_IDS)] % (1 << depth)
    chunks = png.chunks_of(values, color_type, depth, interlaced=rng.random() < 0.5)
    bring(work, "pictures")
    pair = make_striped_pair(*size, shift=0)
    for folder, array in zip((TRAIN_IMAGES, TRAIN_MASKS), pair, strict=True):
        Image.fromarray(array).save(work / "pictures" / folder / NAME)
    folder = TRAIN_MASKS if is_mask else TRAIN_IMAGES
    (work / "pictures" / folder / NAME).write_bytes(png.assembled(chunks))

    def check() -> None:
        table, _ = TWELVE.table()
        name = Path(NAME).with_suffix(".npy").name
        if is_mask:
            assert depth == 8 or color_type == 3
            found = np.load(work / "data/prepared/masks" / name)
            assert (found == table[values[:, :, 0]]).all(), "other class ids than were drawn"
        elif depth == 8:
            found = np.load(work / "data/prepared/images" / name)
            colors = values[:, :, :3] if color_type in (2, 6) else values[:, :, :1]
            assert (found == colors).all(), "other colours than were drawn"

    return case_of(work, check)


def odd_chunks(rng: random.Random, work: Path) -> Case:
    """A PNG with right checksums, and a chunk that is wrong, huge or out of place."""
    folder = rng.choice(FOLDERS)
    color_type = rng.choice((0, 3) if folder == TRAIN_MASKS else list(png.CHANNELS))
    values = np.full((32, 48, png.CHANNELS[color_type]), 7)
    chunks = png.chunks_of(values, color_type, 8, interlaced=rng.random() < 0.2)
    for _ in range(rng.choice((1, 1, 2))):
        chunks = png.with_odd_chunk(rng, chunks) if chunks else chunks
    return replaced(work, folder, png.assembled(chunks))


def odd_ids(rng: random.Random, work: Path) -> Case:
    """A mask with any label ids: accepted only where the class map has them all."""
    bring(work, "pictures")
    some = rng.sample(range(256), rng.randint(0, 2)) if rng.random() < 0.7 else range(256)
    ids = np.array([*LABEL_IDS, *some], dtype=np.uint8)
    mask = ids[np.arange(32 * 48).reshape(32, 48) % len(ids)]
    Image.fromarray(mask).save(work / "pictures" / TRAIN_MASKS / NAME)
    table, known = TWELVE.table()

    def check() -> None:
        assert known[ids].all(), "an id without a class is accepted"
        found = np.load(work / "data/prepared/masks" / NAME.replace(".png", ".npy"))
        assert (found == table[mask]).all()

    return case_of(work, check)


def odd_layout(rng: random.Random, work: Path) -> Case:
    """Files that are missing, named otherwise, of other sizes, or no files at all."""
    bring(work, "pictures")
    root = work / "pictures"
    for _ in range(rng.randint(1, 2)):
        folder = root / rng.choice(FOLDERS)
        names = sorted(path for path in folder.iterdir() if path.is_file())
        if names:
            _change(rng, folder, rng.choice(names))
    return case_of(work, lambda: None, *FOLDERS, "pictures", "_10")


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


KINDS: dict[str, Make] = {
    "picture mutated": mutated,
    "picture cut": cut,
    "picture modes": converted,
    "picture by hand": by_hand,
    "picture chunks": odd_chunks,
    "picture ids": odd_ids,
    "picture layout": odd_layout,
}
