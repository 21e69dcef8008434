"""A small data set in KITTI's layout, made here, and parameters that suit it."""

import os
import signal
from pathlib import Path

# Networks here are tiny: threads would wait for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from roadseg.prepare.fetch.download_store import DownloadStore
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.layout import FOLDERS, TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS

# A shell's background jobs ignore Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
LABEL_IDS = (0, 7, 8, 11, 17, 20, 21, 23, 24, 26, 31, 33)
"""One label id of each class of kitti12, in class order."""
SIZES = ((32, 48), (34, 50))
LONGEST = (
    *("test_interruption", "test_pipeline", "test_kills", "test_sources_in_outputs"),
    *("test_code_of_experiments", "test_ddp_equivalence", "test_export", "test_resume"),
    *("test_remotes", "test_shared_cache", "test_plots_page", "test_disk", "test_paths"),
    *("test_trainer", "test_out_of_memory", "test_demo", "test_linked_cache", "test_main"),
)
LIMITS = Limits(files=1000, bytes=10**8, ratio=100, pixels=10**8)
STORE = DownloadStore(Path("/nonexistent"), 10**8)
"""For sources that are not downloaded."""


def striped_pair(height: int, width: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colour tells the class: image (H, W, 3) uint8, label ids (H, W) uint8."""
    columns = (np.arange(width) // 4 + shift) % len(LABEL_IDS)
    class_ids = np.broadcast_to(columns, (height, width))
    label_ids = np.array(LABEL_IDS, dtype=np.uint8)[class_ids]
    image = np.stack([class_ids * 20, 255 - class_ids * 20, class_ids * 7 + 50], axis=2)
    return image.astype(np.uint8), label_ids


def write_pictures(root: Path, num_train: int = 8, num_test: int = 2, sizes=SIZES) -> Path:
    """A data set of made-up pictures in two sizes, (height, width) each, below `root`."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for i in range(num_train):
        image, label_ids = striped_pair(*sizes[i % len(sizes)], shift=i)
        Image.fromarray(image).save(root / TRAIN_IMAGES / f"{i:06d}_10.png")
        Image.fromarray(label_ids).save(root / TRAIN_MASKS / f"{i:06d}_10.png")
    for i in range(num_test):
        image, _ = striped_pair(*sizes[i % len(sizes)], shift=i + 3)
        Image.fromarray(image).save(root / TEST_IMAGES / f"{i:06d}_10.png")
    return root


def write_params(path: Path, **changes: object) -> Path:
    """The project's params.yaml, made small, with `changes` by dotted key (`train__epochs=1`)."""
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    small = {"model__base_channels": 4, "train__epochs": 2, "train__device": "cpu"}
    for key, value in {**small, "split__val_fraction": 0.25, **changes}.items():
        section = params
        *parents, name = key.split("__")
        for parent in parents:
            section = section[parent]
        section[name] = value
    with path.open("w") as file:
        yaml.dump(params, file)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process works alone at the end (as xdist is told)."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a third of the time is waiting, for DVC, servers and kills."""
    return 1 + (os.cpu_count() or 1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")
