from pathlib import Path

import numpy as np
import pytest
import torch

from roadseg.inference.predictor import Predictor
from roadseg.inference.tta import predict_mask
from roadseg.system.errors import InputError
from tests.factories import make_striped_pair, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model.safetensors")


def fp32(model: Path, **options: object) -> Predictor:
    return Predictor(model, "cpu", "fp32", **options)


@pytest.mark.parametrize("size", [(40, 60), (37, 51), (20, 90), (1, 1)])
def test_any_size_gives_classes_of_that_size(model: Path, size: tuple[int, int]):
    picture, _ = make_striped_pair(*size, shift=1)
    (class_ids,) = fp32(model).class_ids([picture])
    assert (class_ids.shape, class_ids.dtype) == (size, np.uint8)


def test_it_predicts_what_the_network_does(model: Path):
    predictor = fp32(model)
    picture, _ = make_striped_pair(40, 60, shift=1)
    (class_ids,) = predictor.class_ids([picture])
    expected = predict_mask(predictor.network, picture, predictor.accelerator)
    assert np.array_equal(class_ids, expected)
    assert len(np.unique(class_ids)) > 2


def test_a_batch_gives_what_its_pictures_give(model: Path):
    pictures = [make_striped_pair(40, 60, shift=i)[0] for i in range(3)]
    together = fp32(model).logits(pictures)
    alone = torch.cat([fp32(model).logits([picture]) for picture in pictures])
    torch.testing.assert_close(together, alone)


def test_pictures_pass_at_the_scale_of_the_training(tmp_path: Path):
    half = fp32(save_model(tmp_path / "half.safetensors", scale=0.5))
    seen = []
    half.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    picture, _ = make_striped_pair(80, 121, shift=1)
    assert half.class_ids([picture]).shape == (1, 80, 121)
    own = fp32(tmp_path / "half.safetensors", scale=1.0)
    assert own.scale == 1.0
    assert [tuple(shape) for shape in seen] == [(1, 3, 40, 60)]


def test_tiles_change_little(model: Path):
    picture, _ = make_striped_pair(150, 200, shift=1)
    whole = fp32(model).logits([picture])
    assert (fp32(model, tile=64).logits([picture]) - whole).abs().max() < 1e-3


def test_two_looks_are_the_mean_of_the_picture_and_its_mirror_image(model: Path):
    picture, _ = make_striped_pair(40, 61, shift=1)
    plain = fp32(model).logits([picture]).softmax(1)
    mirrored = fp32(model).logits([np.ascontiguousarray(picture[:, ::-1])]).softmax(1).flip(3)
    looks = fp32(model, tta=True).logits([picture])
    torch.testing.assert_close(looks.exp(), (plain + mirrored) / 2)
    assert not torch.allclose(plain, mirrored, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"tile": 64}, {"scale": 0.5}, {"tta": True}])
def test_classes_are_those_of_the_largest_logits(model: Path, options: dict):
    predictor = fp32(model, **options)
    pictures = [make_striped_pair(131, 150, shift=i)[0] for i in range(2)]
    found = predictor.class_ids(pictures)
    assert np.array_equal(found, predictor.logits(pictures).argmax(1).numpy())
    assert len(np.unique(found)) > 2
    ids, chances = predictor.class_ids_and_probabilities(pictures)
    assert np.array_equal(ids, found)
    assert chances.shape == (2, 12, 131, 150)


@pytest.mark.parametrize(("count", "advice"), [(1, "--tile or --scale"), (2, "--batch-size")])
def test_memory_that_runs_out_is_one_line_and_says_what_helps(
    model: Path, monkeypatch, count: int, advice: str
):
    predictor = fp32(model)

    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(predictor.network, "forward", fails)
    with pytest.raises(InputError) as caught:
        predictor.class_ids([make_striped_pair(40, 60, shift=1)[0]] * count)
    assert str(caught.value) == f"40x60 pixels: out of memory; try a smaller {advice}"


def test_no_model_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="no such model"):
        Predictor(tmp_path / "none.safetensors")


def test_logits_that_are_no_numbers_are_no_classes(model: Path):
    predictor = fp32(model)
    for parameter in predictor.network.parameters():
        parameter.data.mul_(1e30)
    with pytest.raises(InputError, match="gives no finite numbers; its weights are too large"):
        predictor.logits([make_striped_pair(40, 60, shift=1)[0]])
