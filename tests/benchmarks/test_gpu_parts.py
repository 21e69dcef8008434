"""`make gpu`: a part that crashes or takes too long loses only itself."""

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.camvid_archive import compress_images, prepare_archive
from benchmarks.gpu.options import parse_arguments
from benchmarks.gpu.worker import missing_packages
from tests.factories import ROOT

CODE = {
    "facts": "print('- a fact')",
    "tests": "import sys; print('- a test'); print('## Traceback', file=sys.stderr); sys.exit(3)",
    "step": "print('| a row |')",
}

IMPORTS = """
import importlib, sys

for name in ("av", "dvc", "hypothesis", "onnx", "onnxruntime", "pycocotools", "torchmetrics"):
    sys.modules[name] = None

from benchmarks.gpu import __main__
from benchmarks.gpu.options import PARTS
from benchmarks.gpu.tests import FILES, ROOT

for name in PARTS:
    importlib.import_module(f"benchmarks.gpu.{name}")
for name in FILES:
    path = ROOT / name
    for file in path.rglob("test_*.py") if path.is_dir() else [path]:
        importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gpu, "worker_command", lambda name, _: [sys.executable, "-c", CODE[name]])
    return tmp_path / "GPU.md"


def sections(out: Path) -> dict[str, str]:
    return dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", out.read_text(), re.M | re.S))


def test_crashed_part_loses_only_itself(out: Path):
    arguments = ["--device", "cpu", "--out", str(out)]
    assert gpu.main([*arguments, "step", "facts", "tests"]) == 1
    assert list(sections(out)) == ["facts", "tests", "step"]
    assert "- a fact" in sections(out)["facts"]
    assert "| a row |" in sections(out)["step"]
    crashed = sections(out)["tests"]
    assert "- a test" in crashed
    assert "failed, exit code 3" in crashed
    assert "      ## Traceback" in crashed  # a block of code, not a heading
    assert gpu.main([*arguments, "facts"]) == 0  # the other sections stay
    assert list(sections(out)) == ["facts", "tests", "step"]
    assert sections(out)["tests"] == crashed


def test_part_is_stopped_at_its_limit_and_keeps_the_lines_it_has_written():
    shown = []
    command = ["sh", "-c", "echo first; echo second; echo reason >&2; sleep 60"]
    outcome = gpu.run_command(command, 0.3, lambda lines: shown.append(list(lines)))
    assert shown == [["first"], ["first", "second"]]
    assert outcome.lines == ["first", "second"]
    assert outcome.error.startswith("stopped after its limit")
    assert outcome.error.endswith("      reason")


def test_parts_without_time_are_listed_as_not_run(out: Path):
    arguments = ["--device", "cpu", "--out", str(out), "--minutes", "0.001"]
    assert gpu.main([*arguments, "facts", "step"]) == 1
    assert [text.strip() for text in sections(out).values()] == ["- not run: no time was left"] * 2


def test_results_of_a_rehearsal_do_not_become_results_of_a_gpu(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--device", "cpu"])
    assert "give --out, because benchmarks/GPU.md is for GPUs only" in capsys.readouterr().err


def test_missing_packages_are_found_without_importing_them():
    assert missing_packages(("os.path", "json", "absent", "absent.nested")) == [
        "absent",
        "absent.nested",
    ]


def test_parts_and_their_tests_import_no_package_that_a_lent_machine_lacks():
    command = [sys.executable, "-W", "ignore", "-c", IMPORTS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (result.returncode, result.stderr) == (0, "")


def test_camvid_archive_is_compressed_and_prepared_with_its_split(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "camvid.zip", "w") as archive:
        for part, number in (("train", 1), ("train", 2), ("val", 3)):
            image = np.full((32, 40, 3), 60 * number, dtype=np.uint8)
            mask = np.full((32, 40), number, dtype=np.uint8)
            for folder, array in ((part, image), (f"{part}annot", mask)):
                buffer = io.BytesIO()
                Image.fromarray(array).save(buffer, "PNG")
                archive.writestr(f"{folder}/0001TP_{number}.png", buffer.getvalue())
    compress_images(tmp_path / "camvid.zip", tmp_path / "small.zip")
    prepared, split, images = prepare_archive(tmp_path / "small.zip", tmp_path / "data")
    assert (split.train, split.val) == (["0001TP_1", "0001TP_2"], ["0001TP_3"])
    assert images == "3 JPG images"
    image, mask = prepared.pair("0001TP_3")
    assert abs(image.astype(int) - 180).max() <= 2
    assert mask.shape == (32, 40)
    assert (mask == 3).all()
