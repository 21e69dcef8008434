"""Image grids, animations, the colors of classes, and tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, LabelClass, read_class_map
from roadseg.inference.colors import IGNORED_COLOR, WRONG_COLOR, colorize, error_map, overlay
from roadseg.prepare.class_frequency import class_frequency
from roadseg.reporting.animation import save_animation
from roadseg.reporting.figures import DPI, PAGE_WIDTH, ImageRow, save_image_grid
from roadseg.system.tables import read_table, round_significant, write_table
from tests.factories import ROOT

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")


def test_colorize_uses_the_colors_of_the_class_map():
    class_ids = np.array([[1, 7], [0, IGNORE_INDEX]], dtype=np.uint8)
    colors = colorize(class_ids, TWELVE.colors)
    assert colors.tolist() == [
        [[128, 64, 128], [70, 130, 180]],
        [[0, 0, 0], list(IGNORED_COLOR)],
    ]


def test_overlay_is_half_image_half_color():
    image = np.full((1, 1, 3), 200, dtype=np.uint8)
    shown = overlay(image, np.array([[1]], dtype=np.uint8), TWELVE.colors)
    assert shown.tolist() == [[[164, 132, 164]]]


def test_grid_shows_all_images_and_is_reproducible(tmp_path: Path):
    fills = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]
    sizes = [(20, 60), (30, 60)]
    rows = [
        ImageRow(
            {
                name: np.full((*size, 3), color, dtype=np.uint8)
                for name, color in zip(("left", "errors"), row, strict=True)
            }
        )
        for size, row in zip(sizes, fills, strict=True)
    ]
    for name in ("a.png", "b.png"):
        save_image_grid(tmp_path / name, "title", rows, TWELVE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert "Software" not in image.info
        pixels = np.asarray(image.convert("RGB"))
    areas = [(pixels == color).all(axis=2).sum() for row in fills for color in row]
    for area, (height, width) in zip(areas, [s for s in sizes for _ in range(2)], strict=True):
        column = PAGE_WIDTH * DPI / 2
        expected = column * column * height / width
        assert area == pytest.approx(expected, rel=0.05)
    for color in (*TWELVE.colors, WRONG_COLOR):  # in the legend
        assert (pixels == color).all(axis=2).sum() > 30


def test_caption_is_drawn_in_the_first_image_of_its_row(tmp_path: Path):
    blank = np.full((20, 60, 3), 255, dtype=np.uint8)
    for name, caption in (("with.png", "mIoU 0.5"), ("without.png", "")):
        rows = [ImageRow({"image": blank, "mask": blank}, caption)]
        save_image_grid(tmp_path / name, "title", rows, TWELVE)
    figures = [np.asarray(Image.open(tmp_path / f"{n}.png")).copy() for n in ("with", "without")]
    rows, columns = (figures[0] != figures[1]).any(axis=2).nonzero()
    assert len(rows) > 100
    assert columns.max() < figures[0].shape[1] / 2


def test_legend_with_long_names_fits_the_page(tmp_path: Path):
    classes = [
        LabelClass(name=f"a class with a long name {i} $", color=[9 * i, 0, 0], label_ids=[i])
        for i in range(14)
    ]
    options = {"void": None, "ignored_label_ids": [], "unknown_label_ids": "error"}
    blank = np.full((20, 60, 3), 255, dtype=np.uint8)
    row = ImageRow({"image": blank, "errors": blank})
    save_image_grid(tmp_path / "a.png", "title", [row], ClassMap(classes=classes, **options))
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels[:, :6] > 250).all()
    assert (pixels[:, -6:] > 250).all()


def test_error_map_is_red_where_wrong_and_white_where_ignored():
    truth = np.array([[0, 1, 2, IGNORE_INDEX]], dtype=np.uint8)
    predicted = np.array([[1, 1, 1, 1]], dtype=np.uint8)
    image = np.full((1, 4, 3), 100, dtype=np.uint8)
    shown = error_map(image, truth, predicted, void_id=0).tolist()[0]
    assert shown == [list(IGNORED_COLOR), [173] * 3, list(WRONG_COLOR), list(IGNORED_COLOR)]
    assert error_map(image, truth, predicted, void_id=None).tolist()[0][0] == list(WRONG_COLOR)


def test_animation_has_one_frame_per_epoch_in_the_exact_class_colors(tmp_path: Path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 64, 3), dtype=np.uint8)
    frames = [(f"epoch {i}", np.full((20, 64), i, dtype=np.uint8)) for i in (1, 7)]
    for name in ("a.gif", "b.gif"):
        save_animation(tmp_path / name, image, frames, TWELVE.colors)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as animation:
        assert (animation.n_frames, animation.width) == (2, 640)
        for number, class_id in enumerate((1, 7)):
            animation.seek(number)
            pixels = np.asarray(animation.convert("RGB"))
            assert (pixels[-200:] == TWELVE.colors[class_id]).all()
            enlarged = Image.fromarray(image).resize((640, 200), Image.Resampling.BICUBIC)
            assert abs(pixels[:200].astype(int) - np.asarray(enlarged)).mean() < 20


def test_animation_keeps_the_colors_of_254_classes(tmp_path: Path):
    colors = np.arange(254 * 3).reshape(254, 3).astype(np.uint8)
    image = np.zeros((20, 640, 3), dtype=np.uint8)
    class_ids = np.full((20, 640), 253, dtype=np.uint8)
    save_animation(tmp_path / "a.gif", image, [("epoch 1", class_ids)], colors)
    with Image.open(tmp_path / "a.gif") as animation:
        assert np.asarray(animation.convert("RGB"))[-1, -1].tolist() == colors[253].tolist()


def test_class_frequency_excludes_ignored_pixels():
    pixels = np.zeros(256, dtype=np.int64)
    pixels[[1, 7, IGNORE_INDEX]] = 30, 10, 60
    table = pd.DataFrame(class_frequency(TWELVE, pixels)).set_index("class")
    assert table.loc["road", "share"] == 0.75
    assert table["share"].sum() == 1
    assert pd.api.types.is_integer_dtype(table["pixels"])


def test_names_that_look_like_numbers_or_nan_are_read_as_text(tmp_path: Path):
    names = ["None", "null", "NA", "1", "007"]
    write_table(
        tmp_path / "t.csv", {"class": names, "picture": names, "iou": [0.5, np.nan, 1, 1, 1]}
    )
    table = read_table(tmp_path / "t.csv")
    assert table["class"].tolist() == table["picture"].tolist() == names
    assert table["iou"].isna().tolist() == [False, True, False, False, False]


def test_tables_are_written_with_six_significant_digits(tmp_path: Path):
    values = [1 / 3, 2e-7 / 3, 12345678.0]
    write_table(tmp_path / "t.csv", pd.DataFrame({"epoch": [1, 2, 3], "lr": values}))
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines == ["epoch,lr", "1,0.333333", "2,6.66667e-08", "3,1.23457e+07"]
    assert [round_significant(value) for value in values] == pd.read_csv(tmp_path / "t.csv")[
        "lr"
    ].tolist()
