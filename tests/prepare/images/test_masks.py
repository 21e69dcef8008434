"""Encodings of masks: label ids of 1 to 16 bits, palettes and colors, in every format."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, LabelClass
from roadseg.prepare.images.mask_reader import Mask, MaskReader
from roadseg.prepare.images.masks import LABEL_IDS, MaskEncoding, read_mask, read_mask_size
from roadseg.system.errors import InputError
from tests.fuzz.png import CHANNELS, join_chunks, make_chunks
from tests.hypothesis_profiles import FEW
from tests.prepare.images.mask_files import PALETTE, WHITE_IS_ZERO, write_bmp, write_tiff

EXACT = MaskEncoding(values="colors")
ROAD, SKY, WALL = [128, 64, 128], [70, 130, 180], [0, 0, 0]
CLASSES = ClassMap(
    void=None,
    ignored_label_ids=[255],
    unknown_label_ids="error",
    classes=[
        LabelClass(name="road", color=ROAD, label_ids=[7, 1000]),
        LabelClass(name="sky", color=[1, 1, 1], label_ids=[23], mask_colors=[SKY]),
        LabelClass(name="wall", color=WALL, label_ids=[0]),
    ],
    ignored_colors=[[255, 255, 255]],
)
GRAYS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
COLORFUL = GRAYS[::-1] ^ np.array([1, 2, 3], np.uint8)  # black and white are not in it


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def encode_png(values: np.ndarray, color_type: int, depth: int) -> bytes:
    channels = values[:, :, None].repeat(CHANNELS[color_type], 2)
    return join_chunks(make_chunks(channels, color_type, depth, interlaced=False))


def with_palette(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(COLORFUL.tobytes())
    return image


def grid(bits: int) -> np.ndarray:
    """2 x 3 values of `bits` bits, among them the smallest and the largest."""
    top = (1 << bits) - 1
    return np.array([[0, top, top // 2], [1, top // 3, 1]], dtype=np.uint16)


def gray(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8))


ENCODED = {
    **{f"gray PNG of {n} bits": (n, encode_png(grid(n), 0, n)) for n in (1, 2, 4, 8, 16)},
    **{f"palette PNG of {n} bits": (n, encode_png(grid(n), 3, n)) for n in (1, 2, 4, 8)},
    "gray PNG with alpha": (8, encode_png(grid(8), 4, 8)),
    "RGB PNG": (8, encode_png(grid(8), 2, 8)),
    "RGBA PNG": (8, encode_png(grid(8), 6, 8)),
    **{f"gray TIFF of {n} bits": (n, write_tiff(grid(n), n)) for n in (1, 2, 4, 8, 16)},
    **{
        f"TIFF of {n} bits in which white is 0": (n, write_tiff(grid(n), n, WHITE_IS_ZERO))
        for n in (1, 2, 4, 8, 16)
    },
    **{
        f"TIFF of {n} bits with reversed bits": (n, write_tiff(grid(n), n, fill_order=2))
        for n in (1, 2, 4, 8)
    },
    **{
        f"palette TIFF of {n} bits": (n, write_tiff(grid(n), n, PALETTE, palette=GRAYS[: 1 << n]))
        for n in (1, 2, 4, 8)
    },
    "big-endian TIFF": (16, write_tiff(grid(16), 16, order=">")),
    "compressed TIFF": (8, encode(gray(grid(8)), "TIFF", compression="tiff_lzw")),
    "compressed TIFF of 16 bits": (
        16,
        encode(Image.fromarray(grid(16)), "TIFF", compression="tiff_adobe_deflate"),
    ),
    **{
        f"BMP of {n} bits in {name}": (n, write_bmp(grid(n), n, palette[: 1 << n]))
        for n in (1, 4, 8)
        for name, palette in (("gray", GRAYS), ("colors", COLORFUL))
    },
    **{
        f"black and white BMP of {n} bits": (1, write_bmp(grid(1), n, GRAYS[[0, 255]]))
        for n in (1, 4, 8)
    },
    "RGB BMP": (8, encode(gray(grid(8)).convert("RGB"), "BMP")),
    "gray GIF": (8, encode(gray(grid(8)), "GIF", optimize=False)),
    "palette GIF": (8, encode(with_palette(grid(8)), "GIF", optimize=False)),
    "lossless WebP": (8, encode(gray(grid(8)).convert("RGB"), "WEBP", lossless=True)),
    "lossless WebP with alpha": (
        8,
        encode(gray(grid(8)).convert("RGBA"), "WEBP", lossless=True),
    ),
    "lossless WebP with EXIF data": (
        8,
        encode(gray(grid(8)).convert("RGB"), "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0"),
    ),
}


def write(folder: Path, data: bytes, name: str = "mask") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(path: Path, encoding: MaskEncoding = LABEL_IDS, class_map: ClassMap = CLASSES) -> Mask:
    return MaskReader(class_map, encoding, 10**6).read(path)


def error(path: Path, encoding: MaskEncoding = LABEL_IDS) -> str:
    """Return the message of the error, without the path that it begins with."""
    with pytest.raises(InputError) as caught:
        read(path, encoding)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", ENCODED)
def test_label_ids_are_the_values_in_the_file(tmp_path: Path, kind: str):
    bits, data = ENCODED[kind]
    path = write(tmp_path, data)
    values = read_mask(path, path, 10, LABEL_IDS).values
    values = values[:, :, 0] if values.ndim == 3 else values
    assert values.tolist() == grid(bits).tolist()
    assert values.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert read_mask_size(path, "mask", 10, LABEL_IDS) == (2, 3)


def test_values_become_class_ids(tmp_path: Path):
    ids = np.array([[0, 7, 23, 255]], dtype=np.uint8)
    assert read(write(tmp_path, encode(gray(ids), "PNG"))).class_ids.tolist() == [[2, 0, 1, 255]]
    deep = np.array([[0, 1000, 23, 255]], dtype=np.uint16)
    found = read(write(tmp_path, encode(Image.fromarray(deep), "PNG"))).class_ids
    assert (found.tolist(), found.dtype) == ([[2, 0, 1, 255]], np.uint8)


def test_unknown_label_id_is_an_error_with_count_and_position(tmp_path: Path):
    ids = np.array([[0, 7, 7], [0, 9, 9]])
    assert error(write(tmp_path, encode(gray(ids), "PNG"))) == (
        "label id 9 (2 pixels) has no class; the first is at row 1, column 1; add the label id to "
        "the class map, or set unknown_label_ids there"
    )
    deep = Image.fromarray(np.array([[0, 7], [65535, 7]], dtype=np.uint16))
    assert error(write(tmp_path, encode(deep, "TIFF"))).startswith(
        "label id 65535 (1 pixels) has no class; the first is at row 1, column 0"
    )


def paint(*rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colors_become_class_ids(tmp_path: Path, mode: str):
    colors = paint([ROAD, SKY], [WALL, [255, 255, 255]])
    image = Image.fromarray(colors)
    image = image.quantize() if mode == "P" else image.convert(mode)
    mask = read(write(tmp_path, encode(image, "PNG")), EXACT)
    assert mask.class_ids.tolist() == [[0, 1], [2, IGNORE_INDEX]]
    assert (mask.num_approximate, mask.palette) == (0, {})


def test_gray_masks_have_the_colors_that_one_sees(tmp_path: Path):
    """In a file of 1, 2 or 4 bits, the largest value is white."""
    for bits in (1, 2, 4, 8):
        values = np.array([[0, (1 << bits) - 1]])
        for data in (encode_png(values, 0, bits), write_tiff(values, bits)):
            assert read(write(tmp_path, data), EXACT).class_ids.tolist() == [[2, 255]]
        inverted = write_tiff(values, bits, WHITE_IS_ZERO)
        assert read(write(tmp_path, inverted), EXACT).class_ids.tolist() == [[255, 2]]


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_unknown_color_is_an_error_with_count_position_and_nearest_color(tmp_path, mode: str):
    image = Image.fromarray(paint([ROAD, SKY, ROAD], [ROAD, [70, 133, 178], [70, 133, 178]]))
    image = image.quantize() if mode == "P" else image
    assert error(write(tmp_path, encode(image, "PNG")), EXACT) == (
        "color [70, 133, 178] (2 pixels) has no class; the first is at row 1, column 1; the "
        "nearest color is sky [70, 130, 180] at distance 3; add the color to the class map, set "
        "unknown_label_ids there, or set data.color_tolerance if the mask is anti-aliased or "
        "compressed"
    )


@pytest.mark.parametrize(("choice", "class_id"), [("ignore", IGNORE_INDEX), ("sky", 1)])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_unknown_colors_follow_the_class_map(tmp_path: Path, choice, class_id, mode: str):
    image = Image.fromarray(paint([ROAD, [9, 200, 9]]))
    image = image.quantize() if mode == "P" else image
    class_map = CLASSES.model_copy(update={"unknown_label_ids": choice})
    mask = read(write(tmp_path, encode(image, "PNG")), EXACT, class_map)
    assert mask.class_ids.tolist() == [[0, class_id]]
    assert mask.num_approximate == 0


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_tolerance_takes_the_nearest_color_and_counts_the_pixels_that_it_changed(tmp_path, mode):
    pairs = ClassMap(
        void=None,
        ignored_label_ids=[],
        unknown_label_ids="error",
        classes=[
            LabelClass(name="a", color=[100, 100, 100]),
            LabelClass(name="b", color=[110, 100, 100]),
        ],
        ignored_colors=[[100, 120, 100]],
    )
    colors = [[100, 100, 100], [104, 100, 96], [105, 100, 100], [106, 100, 100], [100, 111, 100]]
    image = Image.fromarray(paint([*colors, [115, 105, 95]]))
    image = image.quantize() if mode == "P" else image
    path = write(tmp_path, encode(image, "PNG"))
    mask = read(path, MaskEncoding(values="colors", color_tolerance=9), pairs)
    # exact, 4 from a, 5 from both (the first wins), 4 from b, 9 from ignored, 5 from b
    assert mask.class_ids.tolist() == [[0, 0, 0, 1, IGNORE_INDEX, 1]]
    assert mask.num_approximate == 5
    with pytest.raises(InputError, match=r"color \[100, 111, 100\] \(1 pixels\)"):
        read(path, MaskEncoding(values="colors", color_tolerance=8), pairs)


LOSSY = {
    "JPEG": ("JPEG", {"quality": 95, "subsampling": 0}),
    "lossy WebP": ("WEBP", {"quality": 95}),
    "TIFF with JPEG": ("TIFF", {"compression": "jpeg", "quality": 95}),
}


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_masks_need_a_tolerance(tmp_path: Path, kind: str):
    form, options = LOSSY[kind]
    classes = np.arange(16 * 24).reshape(16, 24) // 8 % 3 // 2  # sky at the right
    image = Image.fromarray(np.array([ROAD, SKY], dtype=np.uint8)[classes])
    path = write(tmp_path, encode(image, form, **options))
    tolerant = MaskEncoding(values="colors", color_tolerance=50)
    assert read(path, tolerant).class_ids.tolist() == classes.tolist()
    for encoding in (LABEL_IDS, EXACT):
        assert error(path, encoding).startswith(f"{form} compression is lossy and changes the val")


REFUSED = {
    "16-bit colors": (EXACT, encode_png(grid(16), 0, 16), "16-bit grayscale has no colors; set da"),
    "RGB of 16 bits": (LABEL_IDS, encode_png(grid(16), 2, 16), "unsupported mode RGB of 16 bits;"),
    "gray and alpha of 16 bits": (
        LABEL_IDS,
        encode_png(grid(16), 4, 16),
        "unsupported mode RGBA of 16 bits; save the mask as grayscale of up to 16 bits, or palette",
    ),
    "5-bit BMP": (
        LABEL_IDS,
        write_bmp(grid(8), 8, GRAYS)[:28] + b"\x10" + write_bmp(grid(8), 8, GRAYS)[29:],
        "unsupported mode RGB of 15 bits",
    ),
    "CMYK": (LABEL_IDS, encode(Image.new("CMYK", (3, 2)), "TIFF"), "unsupported mode CMYK of 8"),
    "32 bits": (LABEL_IDS, encode(Image.new("I", (3, 2)), "TIFF"), "unsupported mode I of 32 bits"),
    "float": (LABEL_IDS, encode(Image.new("F", (3, 2)), "TIFF"), "unsupported mode F of 32 bits"),
    "rotated TIFF": (
        LABEL_IDS,
        encode(Image.new("L", (3, 2)), "TIFF", tiffinfo={274: 6}),
        "rotated by its EXIF orientation",
    ),
    "a partial GIF frame": (
        LABEL_IDS,
        encode(gray(grid(8)), "GIF").replace(b"\x03\0\x02\0", b"\x09\0\x09\0", 1),
        "its frame does not cover the whole image",
    ),
    "two frames": (
        LABEL_IDS,
        encode(gray(grid(8)), "GIF", save_all=True, append_images=[Image.new("L", (3, 2), 9)]),
        "has several frames or pages; save one of them",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_mask_that_cannot_be_read_exactly_is_refused(tmp_path: Path, kind: str):
    encoding, data, message = REFUSED[kind]
    assert re.match(message, error(write(tmp_path, data), encoding))


def test_colored_mask_of_label_ids_is_refused_with_color_and_position(tmp_path: Path):
    image = Image.fromarray(paint([WALL, WALL], [WALL, ROAD]))
    for mode in ("RGB", "RGBA"):
        assert error(write(tmp_path, encode(image.convert(mode), "PNG"))) == (
            "the pixel at row 1, column 1 has the color [128, 64, 128], which is not a label id; "
            "if the masks have the colors of the class map, set data.mask_values: colors"
        )


def test_palette_of_label_ids_has_the_color_of_each_used_index(tmp_path: Path):
    ids = np.array([[7, 23], [7, 0]], dtype=np.uint8)
    expected = {index: tuple(COLORFUL[index].tolist()) for index in (0, 7, 23)}
    for kind in ("PNG", "BMP", "TIFF", "GIF"):
        options = {"optimize": False} if kind == "GIF" else {}
        assert read(write(tmp_path, encode(with_palette(ids), kind, **options))).palette == expected
    assert read(write(tmp_path, encode(gray(ids), "PNG"))).palette == {}


FORMATS = {
    **{f"RGB {kind}": ("RGB", kind, {}) for kind in ("PNG", "BMP", "TIFF")},
    "RGBA PNG": ("RGBA", "PNG", {}),
    "RGB WebP": ("RGB", "WEBP", {"lossless": True, "exact": True}),
    "RGB TIFF with LZW": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    **{f"palette {kind}": ("P", kind, {}) for kind in ("PNG", "BMP", "TIFF", "GIF")},
}


@pytest.mark.parametrize("kind", FORMATS)
@FEW
@given(st.data())
def test_painted_class_ids_are_read_back(tmp_path_factory, kind: str, data: st.DataObject):
    mode, form, options = FORMATS[kind]
    channel = st.integers(0, 255)
    color = st.tuples(channel, channel, channel).map(list)
    colors = data.draw(st.lists(color, min_size=1, max_size=6, unique_by=tuple))
    classes = [LabelClass(name=f"c{i}", color=color) for i, color in enumerate(colors)]
    class_map = CLASSES.model_copy(update={"classes": classes, "ignored_colors": []})
    size = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    ids = data.draw(st.lists(st.integers(0, len(colors) - 1), min_size=25, max_size=25))
    class_ids = np.array(ids[: size[0] * size[1]]).reshape(size)
    image = Image.fromarray(np.array(colors, dtype=np.uint8)[class_ids])
    image = image.quantize(len(colors)) if mode == "P" else image.convert(mode)
    path = write(tmp_path_factory.getbasetemp(), encode(image, form, **options), "painted")
    assert read(path, EXACT, class_map).class_ids.tolist() == class_ids.tolist()


def test_fax_masks_are_refused_because_damage_is_not_noticed(tmp_path: Path):
    fax = encode(Image.fromarray(grid(1) > 0), "TIFF", compression="group4")
    assert error(write(tmp_path, fax)) == "fax compression hides damage; save the mask as PNG"
