"""`roadseg demo`: its page in a real browser, and its server."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from safetensors.torch import load_file

from roadseg.commands.demo.server import _Server
from roadseg.inference.predictor import Predictor
from roadseg.models.model_file import load_model, save_weights
from tests.browser import external_urls, needs_browser, open_page
from tests.factories import ROOT, make_striped_pair, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    save_model(folder / "model.safetensors")
    (folder / "examples").mkdir()
    for shift in range(6):
        image, _ = make_striped_pair(40, 60, shift=shift)
        Image.fromarray(image).save(folder / f"examples/{shift}.png")
    return folder


DEMO = ("-m", "roadseg", "demo")


@contextlib.contextmanager
def serve(folder: Path, *program: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the command. Returns the address of its page and the process, whose stderr is piped."""
    command = [sys.executable, *program, "--model", str(folder / "model.safetensors")]
    command += ["--examples", str(folder / "examples"), "--port", "0", "--device", "cpu"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        line = process.stdout.readline()  # printed when the server is ready
        match = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert match, line
        yield match[0], process
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Address of a running `roadseg demo`."""
    with serve(folder, *DEMO) as (address, _):
        yield address


def post_image(address: str, body: bytes, length: int | None = None) -> socket.socket:
    """Post an image, or a part of one of `length` bytes, without reading the response."""
    port = int(re.search(r":(\d+)/", address)[1])
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length or len(body)}"
    client.sendall(f"{head}\r\n\r\n".encode() + body)
    return client


@needs_browser
def test_uploaded_image_shows_its_classes_and_their_fractions(folder: Path, address: str):
    source = folder / "examples/1.png"
    predictor = Predictor([folder / "model.safetensors"], "cpu")
    (class_ids,) = predictor.class_ids([np.asarray(Image.open(source))])
    counts = np.bincount(class_ids.reshape(-1), minlength=12)
    with open_page() as (page, requested):
        page.goto(address)
        page.wait_for_selector("#examples img")
        assert page.locator("#examples img").count() == 4
        page.set_input_files("#file", str(source))
        page.wait_for_selector("#result:not([hidden])")
        rows = [row.split() for row in page.locator("#fractions tr").all_inner_texts()]
        assert len(rows) == (counts > 0).sum() > 2
        largest = counts.argmax()
        assert rows[0][0] == predictor.class_map.names[largest].split()[0]
        assert rows[0][-2] == f"{100 * counts[largest] / counts.sum():.1f}"
        drawn = "() => [...overlay.getContext('2d').getImageData(0, 0, 60, 40).data]"
        pixels = np.array(page.evaluate(drawn)).reshape(40, 60, 4)
        assert (pixels[:, :, :3] == predictor.class_map.colors[class_ids]).all()
        page.hover("#stage", position={"x": 5, "y": 5})
        assert page.inner_text("#name") == predictor.class_map.names[class_ids[0, 0]]
        page.hover("#fractions tr")  # shows only that class
        page.wait_for_timeout(100)
        pixels = np.array(page.evaluate(drawn)).reshape(40, 60, 4)
        assert ((pixels[:, :, 3] == 255) == (class_ids == largest)).all()
        assert external_urls(requested, address) == []


@needs_browser
def test_wrong_file_shows_an_error_and_a_click_predicts_an_example(folder: Path, address: str):
    (folder / "notes.txt").write_text("no image")
    with open_page() as (page, _):
        page.goto(address)
        page.set_input_files("#file", str(folder / "notes.txt"))
        page.wait_for_function("error.textContent != ''")
        assert (
            page.inner_text("#error") == "the image: not a PNG, JPEG, BMP, TIFF, GIF or WebP image"
        )
        page.click("#examples button")
        page.wait_for_selector("#result:not([hidden])")
        assert page.inner_text("#error") == ""
        assert page.inner_text("#status").startswith("60 x 40 pixels in ")


def test_foreign_hosts_and_origins_and_large_files_are_refused(address: str):
    assert (
        requests.get(address, headers={"Host": "elsewhere.example"}, timeout=30).status_code == 400
    )
    for name, value, status in (
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-origin", 400),  # no image
        ("Origin", "https://elsewhere.example", 403),  # sent by older browsers
        ("Origin", "null", 403),
        ("Origin", "http://127.0.0.1:1", 403),
        ("Origin", address.rstrip("/"), 400),
        ("User-Agent", "a program of the user", 400),
    ):
        answer = requests.post(f"{address}predict", headers={name: value}, timeout=30)
        assert answer.status_code == status, value
    assert requests.get(f"{address}examples/99", timeout=30).status_code == 404
    large = requests.post(f"{address}predict", data=bytes((64 << 20) + 1), timeout=30)
    assert (large.status_code, large.json()) == (413, {"error": "the file is larger than 64 MiB"})


def test_page_of_a_model_without_training_metadata_states_no_epoch(folder: Path):
    source = load_file(folder / "model.safetensors")
    _, metadata = load_model(folder / "model.safetensors")
    metadata = metadata.model_copy(update={"val_miou": None, "epoch": None})
    save_weights(folder / "untrained.safetensors", source, metadata)
    predictor = Predictor([folder / "untrained.safetensors"], "cpu")
    about = json.loads(asyncio.run(_Server(predictor, []).about(None)).body)
    assert (about["epoch"], about["val_miou"], about["device"]) == (None, None, "cpu")


def test_page_of_an_ensemble_states_no_epoch(folder: Path):
    predictor = Predictor([folder / "model.safetensors"] * 2, "cpu")
    about = json.loads(asyncio.run(_Server(predictor, []).about(None)).body)
    assert (about["epoch"], about["val_miou"], len(about["classes"])) == (None, None, 12)


SLOW = """
import sys, time
import numpy as np
from roadseg.commands.main import run_from_shell
from roadseg.inference.predictor import Predictor
from roadseg.models.model_file import load_model, save_weights

def slow(self, images):
    print("started", flush=True)
    time.sleep(1)
    return np.stack([np.zeros(image.shape[:2], np.uint8) for image in images])

Predictor.class_ids = slow
sys.argv.insert(1, "demo")
run_from_shell()
"""


def test_aborted_upload_prints_no_error_and_interrupt_does_not_wait_for_a_stalled_one(folder: Path):
    with serve(folder, *DEMO) as (address, process):
        post_image(address, b"half", length=1000).close()
        for _ in range(2):
            assert requests.get(f"{address}about", timeout=30).status_code == 200
        errors = process.stderr.fileno()
        os.set_blocking(errors, False)
        with pytest.raises(BlockingIOError):  # nothing was printed
            os.read(errors, 1)
        os.set_blocking(errors, True)
        with post_image(address, b"half", length=1000):
            assert requests.get(f"{address}about", timeout=30).status_code == 200
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert process.returncode == 130


def test_images_of_disconnected_clients_are_not_predicted(folder: Path):
    image = (folder / "examples/1.png").read_bytes()
    with serve(folder, "-c", SLOW) as (address, process):
        first = post_image(address, image)
        assert process.stdout.readline() == "started\n"
        for _ in range(5):
            post_image(address, image).close()
        answer = requests.post(f"{address}predict", data=image, timeout=30)
        assert answer.json()["shares"][0] == 1
        first.close()
        process.terminate()
        assert process.communicate(timeout=30)[0] == "started\n"  # for the last request


def test_port_in_use_is_an_error_of_one_line(folder: Path, address: str):
    port = re.search(r":(\d+)/", address)[1]
    command = [
        sys.executable,
        *DEMO,
        "--model",
        str(folder / "model.safetensors"),
    ]
    result = subprocess.run([*command, "--port", port], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Address already in use" in result.stderr
    assert result.stderr.count("\n") == 1
