"""The page of `roadseg gallery`: its numbers and files, and what a real browser shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, LabelClass
from roadseg.config.params import Evaluate
from roadseg.evaluation.image_errors import image_errors
from roadseg.inference.colors import WRONG_COLOR, error_map
from roadseg.reporting.gallery import (
    SUFFIXES,
    GalleryImage,
    require_gallery,
    write_gallery,
    write_index,
)
from roadseg.system.errors import InputError
from tests.browser import external_urls, needs_browser, open_page
from tests.factories import CPU, RED_PAIRS, RedChannelNetwork, make_red_dataset

HOSTILE = "</script><img src=x onerror=fail()>\"'& \U0001f697"
"""Name of a class and of an image; fail() would be a script error, which fails the test."""
NAMES = ("void", "road", HOSTILE)
CLASSES = ClassMap(
    void="void",
    ignored_label_ids=[],
    unknown_label_ids="error",
    classes=[
        LabelClass(name=name, color=[90 * i, 0, 0], label_ids=[i]) for i, name in enumerate(NAMES)
    ],
)
ONCE = Evaluate(batch_size=2, flip=False, scales=[1.0])


def make_image(number: int, file: int) -> GalleryImage:
    """Image of 100 pixels, `number` % 90 of which are road and predicted as class 2.

    The others are void and not counted, or road and correct; every third image has class 2, which
    is missed.
    """
    wrong, missed = number % 90, 4 * (number % 3 == 0)
    confusion = np.array([[2, 0, 0], [0, 90 - wrong, wrong], [0, missed, 0]])
    name = HOSTILE if number == 1 else f"{number:06d}"
    return GalleryImage(name, file, 80 + number % 3, 120, image_errors(confusion, CLASSES.void_id))


def write_images(folder: Path, num_images: int, num_files: int = 4) -> Path:
    """Write a gallery of images that share few files; return its page."""
    for name, suffix in SUFFIXES.items():
        (folder / name).mkdir()
        for number in range(num_files):
            Image.new("L", (12, 8), 60 * number).save(folder / name / f"{number}.{suffix}")
    images = [make_image(number, number % num_files) for number in range(num_images)]
    write_index(folder / "index.html", CLASSES, images, f"model <b> {HOSTILE}")
    return folder / "index.html"


def test_files_show_prediction_errors_and_probability(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    out = tmp_path / "gallery"
    write_gallery(
        out, RedChannelNetwork(), prepared, ["1", "0"], CPU, ONCE, ignored=None, model="red"
    )
    require_gallery(out)
    (red, mask), views = RED_PAIRS[0], {}  # the second of the gallery
    for name, suffix in SUFFIXES.items():
        with Image.open(out / name / f"1.{suffix}") as image:
            views[name] = np.array(image)
            assert image.size == (3, 1)
    assert views["mask"].tolist() == mask
    assert views["prediction"].tolist() == red
    assert views["probability"].tolist() == [[153] * 3]  # 3/5
    with Image.open(out / "errors/1.png") as image:
        shown = np.array(image.convert("RGB"))
    expected = error_map(prepared.image("0"), prepared.mask("0"), np.array(red), 0)
    assert (shown == expected).all()
    assert tuple(shown[0, 1]) == WRONG_COLOR
    assert mask[0][2] == IGNORE_INDEX
    data = re.search(r'id="data">(.*?)</script>', (out / "index.html").read_text())
    images = json.loads(data[1])["images"]
    assert [(i["id"], i["height"], i["width"]) for i in images] == [("1", 2, 2), ("0", 1, 3)]
    assert images[1]["errors"] == {
        "pixels": 2,
        "miou": 0.25,  # road 1/2, sky 0
        "ious": [None, 0.5, 0],
        "annotated": [1],
        "confusions": [[1, 2, 1]],
        "missed": [],
        "invented": [[2, 1]],
    }


def test_folder_that_is_not_a_gallery_is_not_replaced(tmp_path: Path):
    require_gallery(tmp_path / "missing")
    with pytest.raises(InputError, match=r"--out: \. is or contains the working directory"):
        require_gallery(Path())
    require_gallery(tmp_path)
    write_images(tmp_path, 1)
    (tmp_path / ".DS_Store").touch()
    require_gallery(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"notes\.txt does not belong to the gallery"):
        require_gallery(tmp_path)
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "index.html").write_text("<p>mine")
    with pytest.raises(InputError, match="is neither empty nor a gallery"):
        require_gallery(tmp_path)


def test_failed_run_keeps_the_earlier_gallery(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, [([[1]], [[IGNORE_INDEX]])])
    (tmp_path / "gallery").mkdir()
    page = write_images(tmp_path / "gallery", 1)
    before = page.read_bytes()
    with pytest.raises(InputError, match="all pixels are void or ignored"):
        write_gallery(
            page.parent, RedChannelNetwork(), prepared, ["0"], CPU, ONCE, ignored=None, model="red"
        )
    assert page.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def browser_page() -> Iterator[tuple[Page, list[str]]]:
    with open_page() as opened:
        yield opened


def ids(page: Page) -> list[str]:
    """Names in the visible rows, in their order on the screen."""
    rows = page.locator("[role=option]").all()
    texts = [(float(row.evaluate("row => row.offsetTop")), row.inner_text()) for row in rows]
    return [text.split("\n")[0] for _, text in sorted(texts)]


def value(page: Page, element: str) -> str:
    return page.locator(f"#{element}").input_value()


@pytest.mark.slow
@needs_browser
def test_browser_sorts_filters_and_compares_20_images(browser_page, tmp_path: Path):
    page, requested = browser_page
    path = write_images(tmp_path, 20)
    page.goto(path.as_uri())
    title, count = page.locator("#title"), page.locator("#count")
    assert count.inner_text() == "20 of 20 images"
    assert HOSTILE in page.locator("header").inner_text()

    # number 18 misses class 2, and its IoU of road is (90 - 18) / (90 + 4)
    assert title.inner_text() == "000018"
    assert "mIoU 0.383" in page.locator("#facts").inner_text()
    page.select_option("#order", "-1")
    assert ids(page)[0] == HOSTILE  # 1 wrong pixel: class 2 has 0, road 89/90; 0 misses 4 pixels
    page.select_option("#sort", "iou:1")
    assert ids(page)[:3] == [HOSTILE, "000002", "000000"]  # 89/90, 88/90, 90/94
    page.select_option("#sort", "size")
    assert ids(page)[:3] == ["000002", "000005", "000008"]  # 82 rows, ties by name

    page.select_option("#class", "2")
    assert count.inner_text() == "7 of 20 images"  # 0, 3, .. 18
    page.select_option("#error", "confused:1:2")
    assert count.inner_text() == "6 of 20 images"  # 0 is all correct
    page.select_option("#least", "0.05")
    assert count.inner_text() == "5 of 20 images"  # 3 is wrong in 3 of 94 pixels
    page.select_option("#sort", "error")
    assert ids(page) == ["000018", "000015", "000012", "000009", "000006"]
    assert "19 % of the pixels" in page.locator("#row-0").inner_text()
    page.fill("#name", "nothing")
    assert count.inner_text() == "0 of 20 images"
    assert page.locator("#stage").is_hidden()
    page.click("button[type=reset]")
    page.wait_for_function("document.getElementById('count').textContent === '20 of 20 images'")
    assert value(page, "sort") == "miou"
    for name in ("000005", "000018"):
        page.evaluate("name => location.hash = name", name)
        page.wait_for_function(
            "name => document.getElementById('title').textContent === name", arg=name
        )

    page.locator("#errors button", has_text="missed").first.click()
    assert (value(page, "error"), value(page, "order")) == ("missed:2", "-1")
    assert count.inner_text() == "7 of 20 images"
    page.select_option("#error", "invented:2")
    assert count.inner_text() == "13 of 20 images"
    assert external_urls(requested, tmp_path.as_uri()) == []


@pytest.mark.slow
@needs_browser
def test_keyboard_and_pointer_move_images_views_slider_and_zoom(browser_page, tmp_path: Path):
    page, _ = browser_page
    page.goto(write_images(tmp_path, 20).as_uri())
    page.select_option("#sort", "index")
    page.locator("#sort").blur()
    title, zoom = page.locator("#title"), page.locator("#zoom")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == "000000"
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == HOSTILE
    page.reload()  # the address has the image
    assert title.inner_text() == HOSTILE
    page.keyboard.press("End")
    page.locator("#list").press("ArrowUp")
    assert page.locator("[aria-selected=true]").count() == 1
    active = page.locator("#list").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"

    page.keyboard.press("4")
    page.keyboard.press("Shift+2")
    assert (value(page, "left-view"), value(page, "right-view")) == ("mask", "errors")
    page.keyboard.press("s")
    sources = page.evaluate("[...document.querySelectorAll('.layer img')].map((i) => i.src)")
    assert [source.split("/")[-2] for source in sources] == ["errors", "mask"]
    page.keyboard.press(",")
    assert value(page, "slider") == "45"
    stage = page.locator("#stage").bounding_box()
    x, y = stage["x"] + 0.45 * stage["width"], stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.2 * stage["width"], y)
    page.mouse.up()
    assert value(page, "slider") == "20"
    clip = "getComputedStyle(document.getElementById('right')).clipPath"
    assert page.evaluate(clip) == "inset(0px 0px 0px 20%)"

    fitted = zoom.inner_text()
    page.click("#actual")
    assert zoom.inner_text() == "100 %"
    page.mouse.move(x, y)
    for _ in range(8):
        page.mouse.wheel(0, -400)
    page.wait_for_function("document.getElementById('zoom').value === '4000 %'")
    transform = "document.querySelector('.layer img').style.transform"
    before = page.evaluate(transform)
    page.keyboard.press("Shift+ArrowUp")
    assert page.evaluate(transform) != before
    page.keyboard.press("0")
    assert zoom.inner_text() == fitted

    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.uncheck("#shortcuts")
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()
    page.keyboard.press("s")
    assert value(page, "right-view") == "mask"


@pytest.mark.slow
@needs_browser
def test_browser_shows_2000_images_with_few_elements_and_requests(browser_page, tmp_path: Path):
    page, requested = browser_page
    path = write_images(tmp_path, 2000)
    requested.clear()
    page.goto(path.as_uri())
    assert page.locator("#count").inner_text() == "2000 of 2000 images"
    assert page.evaluate("document.querySelector('.layer img').decode().then(() => true)")
    for key in ("End", "Home"):
        page.keyboard.press(key)
        assert 5 < page.locator("[role=option]").count() < 40
    page.select_option("#sort", "index")
    page.select_option("#order", "-1")
    page.locator("#list").evaluate("list => list.scrollTop = 0")
    page.locator("[role=option]", has_text="001999").wait_for()
    page.locator("#list").evaluate("list => list.scrollTop = 1e6")
    page.locator("[role=option]", has_text="000000").wait_for()
    assert page.locator("[role=option]").count() < 40
    assert len(set(requested)) < 40
