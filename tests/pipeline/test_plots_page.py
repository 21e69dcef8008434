"""The page of `dvc plots show` and `dvc plots diff`, in a real browser without network."""

import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from roadseg.config.class_map import read_class_map
from tests.browser import external_urls, needs_browser, open_page
from tests.dvc_repository import copy_finished, succeeds
from tests.factories import ROOT

TEMPLATE = (ROOT / ".dvc/page.html").read_text()
SCRIPTS = {
    "vega 5.20.2": "5f0ec89917912f9884ba428b7660407b8a1c01cc6b6cd6b7b0e17176213ff45b",
    "vega-lite 5.2.0": "2453a1233877f1228dbd3293f6f89816a08187a28328541ddf064d5beafcae35",
    "vega-embed 6.18.2": "9df7462e7bb85541b6138e1d01d97288a2b6f4f12efa15cecc2aa8f23b1a3274",
}
"""SHA-256 of build/NAME.min.js in the npm packages, without the comment at the end."""
GRAPHS = {
    "Cross-entropy, training and validation": 2 * (1 + 2),  # a line and its points, two epochs
    "Validation mIoU, void left out": 1 + 2,
    "IoU by class, best epoch": 12 + 12,  # bars and their labels
    "Confusion, percent of each actual class": 144 + 144,
    "mIoU of each validation image, lowest first": 1 + 2,
    "Errors, percent of the pixels of a class in an image": None,  # as many as classes in images
    "Reliability, accuracy of the pixels by confidence": None,  # as many as bins that hold pixels
    "Class frequency, fraction of the pixels": 12 + 12,
}
"""Title and number of marks of each graph of one run, in the order of the page."""
_DRAWN = """() => [...document.querySelectorAll(".vega-embed svg.marks")].map((svg) => ({
  titles: [...svg.querySelectorAll(".role-title-text")].map((title) => title.textContent),
  marks: svg.querySelectorAll(".role-mark > path, .role-mark > text").length,
}))"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A committed run, and in the workspace an experiment that evaluates it with flipping."""
    folder = copy_finished(tmp_path_factory, worker_id, tmp_path_factory.mktemp("plots") / "repo")
    succeeds(folder, "dvc", "exp", "run", "-S", "evaluate.flip=true")
    return folder


def test_scripts_are_those_of_the_npm_packages_with_their_licenses():
    script = r"<!--\n([a-z-]+ [\d.]+)\n\n(.*?)\n-->\n<script>\n(.*?)\n</script>"
    found = re.findall(script, TEMPLATE, re.DOTALL)
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, _, text in found}
    assert digests == SCRIPTS
    for _, license, _ in found:
        assert "University of Washington" in license
        assert "Redistribution and use in source and binary forms" in license
    assert TEMPLATE.count("{plot_divs}") == 1
    assert "{scripts}" not in TEMPLATE
    assert not re.search(r'(src|href)="(https?:)?//', TEMPLATE)


def show(page: Page, folder: Path) -> list[dict]:
    """Open the page, wait for all graphs, and return the titles and number of marks of each."""
    page.goto((folder / "dvc_plots/index.html").as_uri())
    graphs = "document.querySelectorAll('.vega-embed svg.marks .role-mark').length > 0"
    page.wait_for_function(
        f"{graphs} && document.querySelectorAll('svg.marks').length == {len(GRAPHS)}"
    )
    for image in page.locator("img").all():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
    return page.evaluate(_DRAWN)


@needs_browser
def test_page_shows_every_graph_and_image_without_network(finished: Path):
    succeeds(finished, "dvc", "plots", "show")
    with open_page() as (page, asked):
        graphs = show(page, finished)
        assert external_urls(asked, finished.as_uri()) == []
        assert page.title() == "Road scene segmentation: plots"
        headings = page.locator("h2").all_inner_texts()
        names = [image.get_attribute("src") for image in page.locator("img").all()]
        bars = "[...document.querySelectorAll('#plots_per_class_csv .mark-rect path')]"
        fills = page.evaluate(f"{bars}.map((bar) => bar.getAttribute('fill'))")
    for graph, (title, expected) in zip(graphs, GRAPHS.items(), strict=True):
        assert title in graph["titles"]
        assert graph["marks"] == expected or (expected is None and graph["marks"] >= 3)
    assert headings[0] == "Training"
    assert "More" not in headings  # which has plots that the page does not know
    assert [re.sub(r".*predictions_", "", name) for name in names] == [
        "epochs.png",
        "epochs.gif",
        "hardest.png",
        "best.png",
        "epoch_002_training.png",
        "epoch_002_test.png",
        "augmentation.png",
    ]
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    assert [f"#{''.join(f'{v:02x}' for v in color)}" for color in class_map.colors] == fills


@needs_browser
def test_page_shows_two_experiments_side_by_side(finished: Path):
    succeeds(finished, "dvc", "plots", "diff", "HEAD", "workspace")
    with open_page() as (page, asked):
        graphs = show(page, finished)
        assert external_urls(asked, finished.as_uri()) == []
        assert page.locator("img").count() == 2 * 7
        assert {"HEAD", "workspace"} <= set(page.locator("svg.marks text").all_text_contents())
        bars = "[...document.querySelectorAll('#plots_per_class_csv .mark-rect path')]"
        opacities = page.evaluate(f"{bars}.map((bar) => bar.getAttribute('opacity'))")
    for graph, expected in zip(graphs, GRAPHS.values(), strict=True):
        assert expected is None or graph["marks"] == 2 * expected
    assert len(set(opacities)) == 2  # a class has one color; the paler bar is the other run
