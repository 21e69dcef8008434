"""Scores of regions and images, on grids of a few pixels, and the folds of models."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from roadseg.config import params
from roadseg.config.class_map import IGNORE_INDEX
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation import audit as module
from roadseg.evaluation.audit import Region, audit_labels, find_regions
from roadseg.evaluation.out_of_fold import Fold, match_folds
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.prepare.split import split_dataset
from roadseg.provenance.model_metadata import DataDigest, TrainedModelMetadata, TrainingData
from roadseg.system.errors import InputError
from tests.factories import (
    CPU,
    ROOT,
    ConstantNetwork,
    RedChannelNetwork,
    make_provenance,
    make_red_dataset,
)

SPLIT = params.Split(
    val_fraction=0.34, val_ids=None, group_by=None, stratify_by="none", seed=0, fold=0
)


def predict_by_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all models predict the class in the red channel with probability 3/5, others 1/5."""
    monkeypatch.setattr(module, "load_network", lambda *_: (RedChannelNetwork(), None))


def test_score_of_a_region_is_its_evidence_over_the_root_of_the_mean_size():
    label = np.array([[1, 1, 1], [1, 2, 2]], dtype=np.uint8)
    predicted = np.array([[1, 2, 2], [1, 2, 1]])
    probabilities = np.where(np.arange(3)[:, None, None] == predicted, 0.6, 0.2)
    probabilities = probabilities.astype(np.float32)
    regions, numbers = find_regions("a", label, probabilities, np.ones_like(label, dtype=bool))
    assert numbers.tolist() == [[-1, 0, 0], [-1, -1, 1]]
    road, sky = regions
    # two pixels of a segment of four, and one of a segment of two
    assert road == Region("a", 1, 2, (0, 1, 1, 3), 2, pytest.approx(2 * math.log(3) / 8**0.25))
    assert sky == Region("a", 2, 1, (1, 2, 2, 3), 1, pytest.approx(math.log(3) / 2**0.25))


def test_class_with_most_evidence_is_suggested():
    label = np.array([[1, 1, 1]], dtype=np.uint8)
    probabilities = np.array(
        [[[0.5, 0.5, 0.02]], [[0.4, 0.4, 0.01]], [[0.1, 0.1, 0.97]]], dtype=np.float32
    )
    (region,), _ = find_regions("a", label, probabilities, label == 1)
    assert region.suggested_id == 2  # ln 97 is more than 2 ln 1.25


def test_ignored_and_void_pixels_and_predictions_of_void_are_no_regions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predict_by_color(monkeypatch)
    pairs = [([[1, 2, 0]], [[IGNORE_INDEX, 0, 1]]), ([[2, 2]], [[0, IGNORE_INDEX]])]
    prepared = make_red_dataset(tmp_path, pairs)
    result = audit_labels([Fold(["0", "1"], [tmp_path])], prepared, CPU, 5)
    assert result.regions == []
    assert result.images == [("0", 0.0)]  # the other image has no label


def test_planted_wrong_region_ranks_first_in_its_image_and_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predict_by_color(monkeypatch)
    red = np.ones((6, 8), dtype=int)
    red[:, 4:] = 2
    clean, fringe, wrong = red.copy(), red.copy(), red.copy()
    fringe[:, 4] = 1  # six pixels along the outline of a segment of 30
    wrong[2:4, 1:4] = 2  # six pixels, labeled as a segment of their own
    prepared = make_red_dataset(tmp_path, [(red, clean), (red, fringe), (red, wrong)])
    folds = [Fold(["2", "0"], [tmp_path]), Fold(["1"], [tmp_path])]
    result = audit_labels(folds, prepared, CPU, 1)
    assert [(r.image, r.box, r.pixels) for r in result.regions] == [
        ("2", (2, 1, 4, 4), 6), ("1", (0, 4, 6, 5), 6)
    ]  # fmt: skip
    assert [name for name, _ in result.images] == ["2", "1", "0"]
    (view,) = result.views
    assert view.region == result.regions[0]
    assert view.inside.all()
    assert np.array_equal(view.predicted, red)
    again = audit_labels(folds[::-1], prepared, CPU, 1)
    assert (again.regions, again.images) == (result.regions, result.images)


def test_regions_beyond_the_limit_are_counted_but_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predict_by_color(monkeypatch)
    monkeypatch.setattr(module, "MAX_REGIONS", 1)
    pairs = [([[2] * size], [[1] * size]) for size in (1, 4, 2, 3)]
    prepared = make_red_dataset(tmp_path, pairs)
    result = audit_labels([Fold(["0", "1", "2", "3"], [tmp_path])], prepared, CPU, 2)
    assert result.num_regions == 4
    assert [region.image for region in result.regions] == ["1"]
    assert [view.region.image for view in result.views] == ["1", "3"]


def test_probabilities_of_the_models_of_a_fold_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Sky has 3/5 and 1/3, the labeled road 1/5 and 1/3."""
    uniform = ConstantNetwork(1 / 3, 1 / 3, 1 / 3)
    networks = {Path("red"): RedChannelNetwork(), Path("uniform"): uniform}
    monkeypatch.setattr(module, "load_network", lambda path, _: (networks[path], None))
    prepared = make_red_dataset(tmp_path, [([[2]], [[1]])])
    for paths in (list(networks), list(networks)[::-1]):
        (region,) = audit_labels([Fold(["0"], paths)], prepared, CPU, 5).regions
        assert region.score == pytest.approx(math.log((3 / 5 + 1 / 3) / (1 / 5 + 1 / 3)))


def test_view_of_a_region_has_its_pixels_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An L of sky, and in its box another region."""
    predict_by_color(monkeypatch)
    label = [[1, 1, 1, 1], [2, 1, 2, 1], [2, 1, 1, 1], [2, 2, 2, 1]]
    prepared = make_red_dataset(tmp_path, [([[1] * 4] * 4, label)])
    large, small = audit_labels([Fold(["0"], [tmp_path])], prepared, CPU, 5).views
    assert (large.region.box, small.region.box) == ((1, 0, 4, 3), (1, 2, 2, 3))
    assert large.inside.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert small.inside.tolist() == [[True]]
    assert large.class_ids.tolist() == label
    assert large.predicted.tolist() == [[1] * 4] * 4


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedDataset:
    root = tmp_path / "prepared"
    root.mkdir()
    return make_red_dataset(root, [([[i % 2 + 1, 1]], [[i % 2 + 1, 1]]) for i in range(6)])


def save_fold(prepared: PreparedDataset, fold: int, **changes: object) -> Path:
    """Write a model of fold number `fold`; `changes` in the split."""
    options = {**SPLIT.model_dump(), "fold": fold, **changes}
    split = split_dataset(prepared.recorded_sizes(), [], **options)
    digests = {
        kind: DataDigest(pictures=len(ids), sha256=prepared.digest(ids))
        for kind, ids in (("train", split.train), ("val", split.val))
    }
    class_map = prepared.class_map()
    unet = {"num_classes": 3, "base_channels": 1, "bilinear": True, "norm": "batch", "dropout": 0}
    metadata = TrainedModelMetadata(
        network=unet,
        classes=class_map,
        ignored_class=None,
        scale=1.0,
        provenance=make_provenance().model_copy(update={"data": TrainingData(**digests)}),
        machines=[],
        epoch=1,
        val_miou=0.5,
    )
    path = prepared.root.parent / f"fold_{fold}.safetensors"
    save_weights(path, UNet(**unet).state_dict(), metadata)
    return path


def match(prepared: PreparedDataset, *paths: Path) -> list[Fold]:
    return match_folds({path.name: path for path in paths}, prepared, SPLIT, ROOT / "splits")


def write_sizes(prepared: PreparedDataset) -> None:
    sizes = ", ".join(f'"{i}": [1, 2]' for i in range(6))
    (prepared.root / "sizes.json").write_text(f"{{{sizes}}}")


def test_each_image_is_predicted_by_the_model_that_did_not_train_on_it(prepared: PreparedDataset):
    write_sizes(prepared)
    paths = [save_fold(prepared, fold) for fold in (2, 0, 1)]
    folds = match(prepared, *paths)
    assert [fold.models for fold in folds] == [[paths[1]], [paths[2]], [paths[0]]]
    for number, fold in enumerate(folds):
        options = {**SPLIT.model_dump(), "fold": number}
        assert fold.ids == split_dataset(prepared.recorded_sizes(), [], **options).val
    assert sorted(name for fold in folds for name in fold.ids) == prepared.train_ids()
    assert [len(fold.ids) for fold in match(prepared, paths[0])] == [2]  # one model, its own images


def test_model_of_another_split_is_an_error_that_names_it(prepared: PreparedDataset):
    write_sizes(prepared)
    path = save_fold(prepared, 0, seed=5)
    with pytest.raises(InputError, match=r"fold_0.safetensors: .* are not those of a fold of"):
        match(prepared, path)


@pytest.mark.parametrize("part", ["train", "val"])
def test_model_of_other_labels_is_an_error_that_names_it(prepared: PreparedDataset, part: str):
    write_sizes(prepared)
    path = save_fold(prepared, 0)
    split = split_dataset(prepared.recorded_sizes(), [], **SPLIT.model_dump())
    mask = f'"masks/{getattr(split, part)[0]}"'
    index = prepared.root / "index.jsonl"
    entries = index.read_text().splitlines()
    changed = [re.sub("[0-9a-f]{64}", "f" * 64, e) if mask in e else e for e in entries]
    assert changed != entries
    index.write_text("\n".join(changed))
    edited = PreparedDataset(prepared.root)
    with pytest.raises(InputError, match=r"fold_0.safetensors: .* `dvc exp apply`"):
        match(edited, path)
