"""Which images and epochs the figures show, in which order, and what their panels are."""

from pathlib import Path

import numpy as np
import pytest

from roadseg.config.class_map import ClassMap
from roadseg.data.prepared import PreparedDataset
from roadseg.inference.colors import colorize, error_map, overlay
from roadseg.models.model_file import epoch_file
from roadseg.reporting import predictions
from roadseg.reporting.figures import ImageRow
from roadseg.reporting.predictions import SelectedImages, draw_epochs, draw_extremes
from tests.factories import CPU, ConstantNetwork, RedChannelNetwork, make_red_dataset

Figures = dict[str, list[ImageRow]]


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedDataset:
    """Images whose classes, and whose errors in the mask, are all different."""
    masks = [[[0, 1, 2, 1]], [[1, 1, 2, 2]], [[2, 1, 1, 0]], [[2, 2, 2, 1]]]
    return make_red_dataset(tmp_path, [([[1, 1, 2, 0]], mask) for mask in masks])


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    """The rows of each figure by its name, instead of files."""
    found: Figures = {}

    def save_rows(path: Path, _: str, rows: list[ImageRow], class_map: ClassMap) -> None:
        found[path.name] = rows

    monkeypatch.setattr(predictions, "save_image_grid", save_rows)
    return found


def test_extremes_begin_with_the_lowest_and_the_highest_miou(
    prepared: PreparedDataset, figures: Figures, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(predictions, "load_network", lambda *_: (RedChannelNetwork(), None))
    mious = {"2": 0.1, "0": 0.2, "3": 0.7, "1": 0.9}
    draw_extremes(Path(), Path("best"), prepared, mious, 5, CPU)
    captions = {name: [row.caption for row in rows] for name, rows in figures.items()}
    assert captions == {
        "hardest.png": ["2: mIoU 0.10", "0: mIoU 0.20"],
        "best.png": ["1: mIoU 0.90", "3: mIoU 0.70"],
    }
    (image, mask), class_map = prepared.pair("0"), prepared.class_map()
    predicted = np.array([[1, 1, 2, 0]], dtype=np.uint8)
    expected = {
        "image": image,
        "mask": colorize(mask, class_map.colors),
        "prediction": colorize(predicted, class_map.colors),
        "overlay": overlay(image, predicted, class_map.colors),
        "errors": error_map(image, mask, predicted, class_map.void_id),
    }
    shown = figures["hardest.png"][1].images
    assert list(shown) == list(expected)
    for title, panel in expected.items():
        assert np.array_equal(shown[title], panel), title
    assert not np.array_equal(
        expected["errors"], error_map(image, predicted, mask, class_map.void_id)
    )


def test_each_epoch_is_drawn_by_its_own_weights(
    prepared: PreparedDataset, figures: Figures, monkeypatch: pytest.MonkeyPatch
):
    networks = [ConstantNetwork(*np.roll([0.8, 0.1, 0.1], n)) for n in (1, 2, 3)]
    of_epoch = {epoch_file(Path("models"), n): network for n, network in enumerate(networks, 1)}
    monkeypatch.setattr(predictions, "load_network", lambda path, _: (of_epoch[path], None))
    frames: list[tuple[str, np.ndarray]] = []
    monkeypatch.setattr(predictions, "save_animation", lambda *args: frames.extend(args[2]))
    chosen = SelectedImages(training=["0"], validation=["1", "2"], test=[])
    draw_epochs(Path(), Path("models"), [1, 3], 3, prepared, chosen, CPU)
    assert figures.keys() == {"epoch_001_training.png", "epoch_003_training.png", "epochs.png"}
    assert [(title, np.unique(mask).tolist()) for title, mask in frames] == [
        ("epoch 1", [1]), ("epoch 2", [2]), ("epoch 3", [0])
    ]  # fmt: skip
    colors = prepared.class_map().colors
    for name, row in zip(chosen.validation, figures["epochs.png"], strict=True):
        assert list(row.images) == ["image", "mask", "epoch 1", "epoch 3"]
        assert np.array_equal(row.images["mask"], colorize(prepared.pair(name)[1], colors))
        assert (row.images["epoch 1"] == colors[1]).all()
        assert (row.images["epoch 3"] == colors[0]).all()
    (row,) = figures["epoch_003_training.png"]
    assert (row.images["prediction"] == colors[0]).all()
