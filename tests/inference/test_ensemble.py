"""Ensembles: the mean of the probabilities by hand, compatible models, and their provenance."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from roadseg.commands.main import main
from roadseg.config.class_map import read_class_map
from roadseg.evaluation.evaluate import evaluate
from roadseg.inference import predictor, tta
from roadseg.inference.ensemble import combine, load_models
from roadseg.inference.predictor import Predictor
from roadseg.inference.tiling import Tiles
from roadseg.inference.tta import IDENTITY, Ensemble, View, mean_logits
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256
from tests.factories import (
    CPU,
    RED_PAIRS,
    ROOT,
    ConstantNetwork,
    RedChannelNetwork,
    make_provenance,
    make_red_dataset,
    make_striped_pair,
    save_model,
)

CONSTANT = ConstantNetwork(1 / 8, 1 / 8, 3 / 4)
RED = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).expand(1, 3, 2, 2) / 255


def test_probabilities_of_networks_are_averaged_by_hand():
    ensemble = Ensemble([RedChannelNetwork(), CONSTANT])
    probabilities = mean_logits(ensemble, RED, CPU, [IDENTITY]).exp()
    hit, miss = (3 / 5 + 1 / 8) / 2, (1 / 5 + 1 / 8) / 2
    sky_hit, sky_miss = (3 / 5 + 3 / 4) / 2, (1 / 5 + 3 / 4) / 2
    expected = [
        [[hit, miss], [miss, hit]],
        [[miss, hit], [miss, miss]],
        [[sky_miss, sky_miss], [sky_hit, sky_miss]],
    ]
    torch.testing.assert_close(probabilities[0], torch.tensor(expected))


def test_mean_is_over_all_networks_and_views():
    networks = [RedChannelNetwork(), CONSTANT]
    views = [IDENTITY, View(2.0, True)]
    averaged = mean_logits(Ensemble(networks), RED, CPU, views).exp()
    single = [mean_logits(network, RED, CPU, [view]) for network in networks for view in views]
    torch.testing.assert_close(averaged, sum(logits.softmax(1) for logits in single) / 4)


@pytest.mark.parametrize("views", [[IDENTITY], [IDENTITY, View(1.0, True)]])
def test_ensemble_of_one_network_has_its_logits_bit_for_bit(views: list[View]):
    network, images = nn.Conv2d(3, 4, 3, padding=1), torch.rand(2, 3, 20, 24)
    assert combine([network]) is network
    expected = mean_logits(network, images, CPU, views)
    assert torch.equal(mean_logits(Ensemble([network]), images, CPU, views), expected)


def test_evaluation_of_an_ensemble_by_hand(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    networks = [RedChannelNetwork(), CONSTANT]
    evaluation = evaluate(combine(networks), prepared, ["0", "1"], 8, CPU, ignored=None)
    assert evaluation.confusion.tolist() == [[0, 0, 2], [0, 0, 2], [0, 0, 2]]  # sky everywhere
    hit, miss = (3 / 5 + 1 / 8) / 2, (1 / 5 + 1 / 8) / 2
    sky_hit, sky_miss = (3 / 5 + 3 / 4) / 2, (1 / 5 + 3 / 4) / 2
    # true classes road (hit), road (miss); rest (hit), sky (hit), rest (miss), sky (miss)
    probabilities = [hit, miss, hit, sky_hit, miss, sky_miss]
    expected = -sum(map(math.log, probabilities)) / 6
    assert evaluation.cross_entropy == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of different size."""
    folder = tmp_path_factory.mktemp("models")
    provenance = make_provenance(seed=7)
    return [
        save_model(folder / "a.safetensors"),
        save_model(folder / "b.safetensors", base_channels=6, provenance=provenance),
    ]


@pytest.mark.parametrize("options", [{}, {"tta": True}, {"tile": 64}])
def test_predictor_averages_the_probabilities_of_its_models(models: list[Path], options: dict):
    image, _ = make_striped_pair(70, 90, shift=1)
    averaged = Predictor(models, "cpu", "fp32", **options).logits([image]).exp()
    single = [Predictor([model], "cpu", "fp32", **options).logits([image]) for model in models]
    first, second = (logits.softmax(1) for logits in single)
    torch.testing.assert_close(averaged, (first + second) / 2)
    assert not torch.allclose(first, second, atol=0.01)


def test_each_network_has_its_own_tiles(models: list[Path], monkeypatch):
    monkeypatch.setattr(
        predictor, "fit_tiles", lambda network, *_: Tiles(64, 144, 16, network.out.in_channels == 6)
    )
    seen = {}
    monkeypatch.setattr(
        tta,
        "tiled_logits",
        lambda network, images, accelerator, tiles: (
            seen.setdefault(network.out.in_channels, tiles),
            network(images),
        )[1],
    )
    both = Predictor(models, "cpu", "fp32")
    both.logits([make_striped_pair(40, 60, shift=1)[0]])
    assert seen == {4: Tiles(64, 144, 16, exact=False), 6: Tiles(64, 144, 16, exact=True)}


KITTI12 = read_class_map(ROOT / "classes/kitti12.yaml")
POLE = KITTI12.classes[4].model_copy(update={"name": "post"})
RENAMED = [*KITTI12.classes[:4], POLE, *KITTI12.classes[5:]]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"classes": "kitti11"}, "classes.0.name is 'road', not 'void'"),
        (
            {"classes": KITTI12.model_copy(update={"classes": RENAMED})},
            "classes.4.name is 'post', not 'pole'",
        ),
        (
            {"classes": KITTI12.model_copy(update={"classes": KITTI12.classes[:-1]})},
            "classes.length is 11, not 12",
        ),
        ({"classes": KITTI12.model_copy(update={"void": None})}, "void is None, not 'void'"),
        ({"scale": 0.5}, "scale is 0.5, not 1.0"),
        ({"ignored_class": 0}, "ignored_class is 0, not None"),
    ],
)
def test_models_that_differ_are_refused(
    models: list[Path], tmp_path: Path, changes: dict, difference: str
):
    other = save_model(tmp_path / "other.safetensors", **changes)
    with pytest.raises(InputError) as caught:
        load_models([models[0], other])
    assert str(caught.value) == (
        f"{other}: cannot be averaged with {models[0]}: {difference}; use models with one class "
        "map, scale and ignored class"
    )


def test_predict_averages_models_and_lists_them(models: list[Path], tmp_path: Path, capsys):
    image, _ = make_striped_pair(40, 60, shift=1)
    Image.fromarray(image).save(tmp_path / "image.png")
    chosen = [word for model in models for word in ("--model", str(model))]
    options = ["--device", "cpu", "--precision", "fp32", "--probabilities"]
    main(["predict", str(tmp_path / "image.png"), *chosen, "--out", str(tmp_path), *options])
    assert f"by {models[0]}, {models[1]} on cpu" in capsys.readouterr().out
    probabilities = np.load(tmp_path / "probabilities/image.npy")
    logits = Predictor(models, "cpu", "fp32").logits([image])
    assert np.array_equal(probabilities, logits.softmax(1)[0].half().numpy())
    facts = {"epoch": 3, "val_miou": 0.25}
    assert json.loads((tmp_path / "models.json").read_text()) == [
        {"model": str(model), "sha256": file_sha256(model), "seed": seed, **facts}
        for model, seed in zip(models, (None, 7), strict=True)
    ]
