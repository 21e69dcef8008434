"""The page to try a model, in a real browser, served by the real command."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from src.inference.predictor import Predictor
from tests.browser import needs_browser, opened_page, outside
from tests.conftest import ROOT, striped_pair
from tests.inference.small import saved_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    saved_model(folder / "model.safetensors")
    (folder / "examples").mkdir()
    for shift in range(6):
        picture, _ = striped_pair(40, 60, shift=shift)
        Image.fromarray(picture).save(folder / f"examples/{shift}.png")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The page of `python -m src.demo`, which runs while a test does."""
    command = [sys.executable, "-m", "src.demo", "--model", str(folder / "model.safetensors")]
    command += ["--examples", str(folder / "examples"), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()  # it listens from here on
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        yield found[0]
        process.terminate()
        process.communicate(timeout=20)


@needs_browser
def test_a_picture_shows_its_classes_and_their_shares(folder: Path, address: str):
    source = folder / "examples/1.png"
    predictor = Predictor(folder / "model.safetensors", "cpu")
    (class_ids,) = predictor.class_ids([np.asarray(Image.open(source))])
    counts = np.bincount(class_ids.reshape(-1), minlength=12)
    with opened_page() as (page, asked):
        page.goto(address)
        page.wait_for_selector("#examples img")
        assert page.locator("#examples img").count() == 4
        page.set_input_files("#file", str(source))
        page.wait_for_selector("#result:not([hidden])")
        rows = [row.split() for row in page.locator("#shares tr").all_inner_texts()]
        assert len(rows) == (counts > 0).sum() > 2
        largest = counts.argmax()
        assert rows[0][0] == predictor.class_map.names[largest].split()[0]
        assert rows[0][-2] == f"{100 * counts[largest] / counts.sum():.1f}"
        drawn = "() => [...overlay.getContext('2d').getImageData(0, 0, 60, 40).data]"
        pixels = np.array(page.evaluate(drawn)).reshape(40, 60, 4)
        assert (pixels[:, :, :3] == predictor.class_map.colors[class_ids]).all()
        page.hover("#stage", position={"x": 5, "y": 5})
        assert page.inner_text("#name") == predictor.class_map.names[class_ids[0, 0]]
        page.hover("#shares tr")  # that class alone
        page.wait_for_timeout(100)
        pixels = np.array(page.evaluate(drawn)).reshape(40, 60, 4)
        assert ((pixels[:, :, 3] == 255) == (class_ids == largest)).all()
        assert outside(asked, address) == []


@needs_browser
def test_an_example_is_one_click_away_and_a_wrong_file_one_line(folder: Path, address: str):
    (folder / "notes.txt").write_text("no picture")
    with opened_page() as (page, _):
        page.goto(address)
        page.set_input_files("#file", str(folder / "notes.txt"))
        page.wait_for_function("error.textContent != ''")
        assert page.inner_text("#error") == (
            "the picture: not a picture of a known kind; expected PNG or JPEG or WEBP"
        )
        page.click("#examples button")
        page.wait_for_selector("#result:not([hidden])")
        assert page.inner_text("#error") == ""
        assert page.inner_text("#status").startswith("60 x 40 pixels in ")


def test_the_server_refuses_what_is_not_meant_for_it(address: str):
    assert (
        requests.get(address, headers={"Host": "elsewhere.example"}, timeout=5).status_code == 400
    )
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert requests.post(f"{address}predict", headers=foreign, timeout=5).status_code == 403
    assert requests.get(f"{address}examples/99", timeout=5).status_code == 404
    large = requests.post(f"{address}predict", data=bytes((64 << 20) + 1), timeout=30)
    assert (large.status_code, large.json()) == (413, {"error": "the file is larger than 64 MiB"})


def test_a_port_that_is_taken_is_one_line(folder: Path, address: str):
    port = re.search(r":(\d+)/", address)[1]
    command = [sys.executable, "-m", "src.demo", "--model", str(folder / "model.safetensors")]
    result = subprocess.run([*command, "--port", port], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Address already in use" in result.stderr
    assert result.stderr.count("\n") == 1
