"""The page of `roadseg audit`: what it says, and that names cannot change it."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.config.class_map import ClassMap, LabelClass
from roadseg.evaluation.audit import Region, RegionView
from roadseg.reporting.audit_page import outline, save_audit_page
from tests.browser import external_urls, needs_browser, open_page

SCRIPT = "<script>alert('$rank')</script>"
NAMES = ("road", SCRIPT, "sky & sea")
CLASSES = ClassMap(
    void=None,
    ignored_label_ids=[],
    unknown_label_ids="error",
    classes=[
        LabelClass(name=name, color=[90 * i, 0, 0], label_ids=[i]) for i, name in enumerate(NAMES)
    ],
)


def make_view(score: float, height: int = 4, width: int = 6) -> RegionView:
    class_ids = np.ones((height, width), dtype=np.uint8)
    image = np.full((height, width, 3), 128, dtype=np.uint8)
    region = Region(f"{SCRIPT}\x00", 1, 2, (1, 2, 3, 4), 4, score)
    return RegionView(region, image, class_ids, class_ids * 2, np.ones((2, 2), dtype=bool))


def write(path: Path, views: list[RegionView]) -> str:
    save_audit_page(path, views, CLASSES, "1 of 2 <images>")
    return path.read_text()


def test_names_are_escaped_and_the_page_needs_nothing_else(tmp_path: Path):
    text = write(tmp_path / "index.html", [make_view(2.5), make_view(1, 900, 2000)])
    assert "<script" not in text
    assert "\x00" not in text
    assert "1. &lt;script&gt;alert(&#x27;$rank&#x27;)&lt;/script&gt;\\x00: " in text
    assert "sky &amp; sea" in text
    assert "1 of 2 &lt;images&gt;" in text
    assert "score 2.5; 4 pixels" in text
    assert {*re.findall(r'(?:src|href)="([^,"]*)', text)} == {"data:", "data:image/jpeg;base64"}
    assert text.count("<article>") == 2
    assert len(text) < 200_000


def test_region_is_shown_as_image_label_and_prediction(tmp_path: Path):
    text = write(tmp_path / "index.html", [make_view(2.5)])
    found = {}
    for caption, data in re.findall(r'alt="([^"]*)" src="data:image/jpeg;base64,([^"]*)"', text):
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            found[caption] = np.asarray(image)[6:60, 6:60].mean((0, 1))  # far from the outline
    assert found.keys() == {"image", "label", "prediction", "whole image"}
    colors = {"image": (128,) * 3, "label": (90, 0, 0), "prediction": (180, 0, 0)}
    for caption, color in colors.items():
        assert found[caption] == pytest.approx(color, abs=4), caption  # JPEG


def test_same_regions_give_the_same_bytes(tmp_path: Path):
    views = [make_view(2.5)]
    assert write(tmp_path / "a.html", views) == write(tmp_path / "b.html", views)


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(4, 6, (264, 396)), (1200, 100, (800, 67)), (60, 500, (60, 500))]
)
def test_region_at_the_border_is_outlined_on_all_sides(
    height: int, width: int, shape: tuple[int, int]
):
    """Small crops are enlarged by an integer, large ones reduced; the line is in a frame of 4."""
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    image = np.asarray(outline(pixels, np.ones((height, width), dtype=bool), smooth=False))
    assert image[4:-4, 4:-4].shape == (*shape, 3)
    assert (image[4:-4, 4:-4] == 128).all()
    for line in (image[2:4, 4:-4], image[-4:-2, 4:-4], image[4:-4, 2:4], image[4:-4, -4:-2]):
        assert (line == 255).all()


@pytest.mark.slow
@needs_browser
def test_browser_shows_four_images_for_each_region_and_requests_nothing(tmp_path: Path):
    path = tmp_path / "index.html"
    write(path, [make_view(2.5), make_view(1)])
    with open_page() as (page, requested):
        page.goto(path.as_uri())
        widths = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert page.locator("article").count() == 2
    assert len(widths) == 8
    assert min(widths) > 300
    assert external_urls(requested, path.as_uri()) == []
