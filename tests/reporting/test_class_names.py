"""Figures and model card for unusual class names: formulas, Markdown, Chinese, many long names."""

import html
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import fontManager
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from roadseg.config.class_map import ClassMap, LabelClass
from roadseg.experiments.parallel_coordinates import Axis, plot_parallel_coordinates
from roadseg.inference.colors import colorize
from roadseg.reporting import fonts
from roadseg.reporting.charts import save_class_bars, save_confusion
from roadseg.reporting.figures import ImageRow, save_figure, save_image_grid
from tests.reporting.test_model_card import make_card

FORMULAS = ["$$_$ bill", "$1 and $x_{", "_hidden", "a\\$b", "$\\frac$"]
CHINESE = ["道路", "人行道"]
LONG = [f"a class with a name of many words, number {i}" for i in range(150)]


def make_class_map(names: list[str]) -> ClassMap:
    colors = np.random.default_rng(0).permutation(256**2)[: len(names)]
    classes = [
        LabelClass(name=name, color=[int(color) // 256, int(color) % 256, 9], label_ids=[])
        for name, color in zip(names, colors, strict=True)
    ]
    return ClassMap(void=None, ignored_label_ids=[], unknown_label_ids="ignore", classes=classes)


def save_bars(path: Path, names: list[str]) -> None:
    colors = make_class_map(names).hex_colors
    save_class_bars(path, pd.DataFrame({"class": names, "iou": np.nan, "color": colors}))


def save_matrix(path: Path, names: list[str]) -> None:
    fractions = np.eye(len(names)).reshape(-1)
    save_confusion(path, pd.DataFrame({"actual": np.repeat(names, len(names)), "share": fractions}))


def save_grid(path: Path, names: list[str]) -> None:
    """Show the first two classes, with the first name as the caption."""
    class_map = make_class_map(names)
    mask = colorize(np.tile(np.array([0, 1], dtype=np.uint8), (20, 30)), class_map.colors)
    save_image_grid(path, "title", [ImageRow({"image": mask, "mask": mask}, names[0])], class_map)


def save_parallel(path: Path, names: list[str]) -> None:
    """Use the names for experiments and categories."""
    axes = [Axis("data.set", names, True), Axis("miou", list(range(len(names))), False)]
    save_figure(plot_parallel_coordinates(axes, names, axes[1], True), path)


FIGURES = [save_bars, save_matrix, save_grid, save_parallel]


@pytest.fixture
def drawn_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> list[tuple[str, float, float, float, bool | str]]:
    """Record each drawn line of text: text, x, y (pixels), angle (degrees), formula or not."""
    lines = []
    draw_text = RendererAgg.draw_text

    def record(self, gc, x, y, s, prop, angle, ismath=False, mtext=None) -> None:
        lines.append((s, x, y, angle, ismath))
        draw_text(self, gc, x, y, s, prop, angle, ismath, mtext)

    monkeypatch.setattr(RendererAgg, "draw_text", record)
    return lines


@pytest.mark.parametrize("save", FIGURES)
def test_formulas_in_names_are_drawn_literally(tmp_path: Path, drawn_texts, save):
    save(tmp_path / "a.png", FORMULAS)
    assert set(FORMULAS) <= {text for text, *_ in drawn_texts}
    assert not any(is_formula for *_, is_formula in drawn_texts)


def test_model_card_shows_names_literally():
    names = [
        *("$1 and $x_{", "a|b", "a\\|b", "*bold*", "_italic_", "<b>", "`code`", "[link](x)"),
        *("&amp;", "~~struck~~", "1. car", "- x"),
    ]
    text = make_card(names, license="CC-BY | *none*", source="sets/`a`|b_c_d")
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"(?s)<tr>.*?</tr>", page)]
    cells = [[html.unescape(cell) for cell in row] for row in rows]
    assert [row[1] for row in cells if len(row) == 5] == names
    assert ["license of the data", "CC-BY | *none*"] in cells
    assert ["trained on", "<code>sets/`a`|b_c_d</code>"] in cells
    assert f"car: {', '.join(names)}." in html.unescape(page)
    assert f"Weak classes (IoU below 0.5): {names[9]} 0.30." in html.unescape(page)
    assert not re.search(r"(?<!\\)\$", text)  # GitHub's formulas


def build_font(path: Path, characters: str) -> None:
    """Write a font "Squares" whose glyphs are solid squares."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square" for character in characters})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def only_bundled_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide installed fonts, and forget earlier warnings."""
    bundled = [font for font in fontManager.ttflist if font.name.startswith(("DejaVu", "Last"))]
    monkeypatch.setattr(fontManager, "ttflist", bundled)
    monkeypatch.setattr(fonts, "findSystemFonts", list)
    monkeypatch.setattr(fonts, "_warned_about", set())


@pytest.mark.parametrize("save", FIGURES)
def test_installed_font_draws_characters_that_the_default_font_lacks(
    tmp_path: Path, only_bundled_fonts, monkeypatch: pytest.MonkeyPatch, capsys, save
):
    build_font(tmp_path / "squares.ttf", "".join(CHINESE))
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [str(tmp_path / "squares.ttf")])
    save(tmp_path / "a.png", CHINESE)
    assert capsys.readouterr().err == ""
    black = np.asarray(Image.open(tmp_path / "a.png").convert("L")) < 40
    assert sliding_window_view(black, (12, 12)).all(axis=(2, 3)).any()


def test_missing_font_is_one_warning_and_figures_are_drawn(
    tmp_path: Path, only_bundled_fonts, capsys
):
    for save in FIGURES:
        save(tmp_path / f"{save.__name__}.png", CHINESE)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no installed font has the characters 人行路道, so figures")
    assert len(list(tmp_path.iterdir())) == len(FIGURES)


@pytest.mark.parametrize(
    ("save", "count"), [(save_bars, 60), (save_matrix, 24), (save_matrix, 150)]
)
def test_labels_of_many_long_names_do_not_overlap(tmp_path: Path, drawn_texts, save, count: int):
    save(tmp_path / "a.png", LONG[:count])
    with Image.open(tmp_path / "a.png") as image:
        assert max(image.size) < 2400
        line_height = 8 / 72 * (200 if image.width == 1400 else 100)  # 8 points
    labels = [(x, y, math.radians(angle)) for text, x, y, angle, _ in drawn_texts if "…" in text]
    # position of each label across its direction; labels of one angle are parallel
    offsets: dict[float, list[float]] = {}
    for x, y, angle in labels:
        offsets.setdefault(angle, []).append(x * math.sin(angle) + y * math.cos(angle))
    assert len(offsets) == (1 if save is save_bars else 2)
    for values in offsets.values():
        assert len(values) == count
        assert (abs(np.diff(values)) >= line_height).all()


def test_legend_lists_only_the_shown_of_many_classes(tmp_path: Path, drawn_texts):
    save_grid(tmp_path / "a.png", LONG)
    entries = [text for text, *_ in drawn_texts if "…" in text]
    assert [entry[-2:] for entry in entries] == [" 0", " 1"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.height < 500
