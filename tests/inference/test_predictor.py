import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from roadseg.inference.options import add_predictor_options, build_predictor
from roadseg.inference.predictor import Predictor
from roadseg.inference.tta import predict_mask
from roadseg.system.errors import InputError
from tests.factories import make_striped_pair, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model.safetensors")


def fp32(model: Path, **options: object) -> Predictor:
    return Predictor([model], "cpu", "fp32", **options)


@pytest.mark.parametrize("size", [(40, 60), (37, 51), (20, 90), (1, 1)])
def test_class_ids_have_the_size_of_the_image(model: Path, size: tuple[int, int]):
    image, _ = make_striped_pair(*size, shift=1)
    (class_ids,) = fp32(model).class_ids([image])
    assert (class_ids.shape, class_ids.dtype) == (size, np.uint8)


def test_options_of_the_command_line_are_those_of_the_predictor(model: Path):
    parser = argparse.ArgumentParser()
    add_predictor_options(parser)
    options = ["--model", str(model), "--device", "cpu", "--precision", "fp32", "--tta"]
    predictor = build_predictor(parser.parse_args([*options, "--scale", "0.5", "--tile", "64"]))
    image, _ = make_striped_pair(150, 140, shift=1)
    expected = fp32(model, scale=0.5, tile=64, tta=True).logits([image])
    assert torch.equal(predictor.logits([image]), expected)
    for change in ({"scale": None}, {"tile": None}, {"tta": False}):
        changed = fp32(model, **{"scale": 0.5, "tile": 64, "tta": True, **change})
        assert not torch.equal(changed.logits([image]), expected), change


def test_class_ids_equal_those_of_predict_mask(model: Path):
    predictor = fp32(model)
    image, _ = make_striped_pair(40, 60, shift=1)
    (class_ids,) = predictor.class_ids([image])
    expected = predict_mask(predictor.network, image, predictor.accelerator)
    assert np.array_equal(class_ids, expected)
    assert len(np.unique(class_ids)) > 2


def test_logits_of_a_batch_equal_those_of_its_images(model: Path):
    images = [make_striped_pair(40, 60, shift=i)[0] for i in range(3)]
    batched = fp32(model).logits(images)
    single = torch.cat([fp32(model).logits([image]) for image in images])
    torch.testing.assert_close(batched, single)


def test_images_are_resized_to_the_scale_of_the_training(tmp_path: Path):
    half = fp32(save_model(tmp_path / "half.safetensors", scale=0.5))
    shapes = []
    half.network.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    image, _ = make_striped_pair(80, 121, shift=1)
    assert half.class_ids([image]).shape == (1, 80, 121)
    full_size = fp32(tmp_path / "half.safetensors", scale=1.0)
    assert full_size.scale == 1.0
    assert [tuple(shape) for shape in shapes] == [(1, 3, 40, 60)]


def test_logits_of_a_resized_image_are_interpolated_to_its_size(model: Path):
    image, _ = make_striped_pair(160, 200, shift=1)
    half = np.asarray(Image.fromarray(image).resize((100, 80), Image.Resampling.BICUBIC))
    expected = functional.interpolate(fp32(model).logits([half]), (160, 200), mode="bilinear")
    torch.testing.assert_close(fp32(model, scale=0.5).logits([image]), expected)


def test_tiles_hardly_change_the_logits(model: Path):
    image, _ = make_striped_pair(150, 200, shift=1)
    whole = fp32(model).logits([image])
    assert (fp32(model, tile=64).logits([image]) - whole).abs().max() < 1e-3


def test_tta_averages_the_probabilities_of_the_image_and_its_mirror_image(model: Path):
    image, _ = make_striped_pair(40, 61, shift=1)
    original = fp32(model).logits([image]).softmax(1)
    mirrored = fp32(model).logits([np.ascontiguousarray(image[:, ::-1])]).softmax(1).flip(3)
    averaged = fp32(model, tta=True).logits([image])
    torch.testing.assert_close(averaged.exp(), (original + mirrored) / 2)
    assert not torch.allclose(original, mirrored, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"tile": 64}, {"scale": 0.5}, {"tta": True}])
def test_class_ids_are_those_of_the_largest_logits(model: Path, options: dict):
    predictor = fp32(model, **options)
    images = [make_striped_pair(131, 150, shift=i)[0] for i in range(2)]
    class_ids = predictor.class_ids(images)
    assert np.array_equal(class_ids, predictor.logits(images).argmax(1).numpy())
    assert len(np.unique(class_ids)) > 2
    ids, probabilities = predictor.class_ids_and_probabilities(images)
    assert np.array_equal(ids, class_ids)
    assert probabilities.shape == (2, 12, 131, 150)


@pytest.mark.parametrize(("count", "advice"), [(1, "--tile or --scale"), (2, "--batch-size")])
def test_out_of_memory_error_names_the_options_to_lower(
    model: Path, monkeypatch, count: int, advice: str
):
    predictor = fp32(model)

    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(predictor.network, "forward", refuse)
    with pytest.raises(InputError) as caught:
        predictor.class_ids([make_striped_pair(40, 60, shift=1)[0]] * count)
    assert str(caught.value) == f"40x60 pixels: out of memory; try a smaller {advice}"


def test_missing_model_raises_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="no such model"):
        Predictor([tmp_path / "none.safetensors"])


def test_logits_that_are_not_finite_raise_an_error(model: Path):
    predictor = fp32(model)
    for parameter in predictor.network.parameters():
        parameter.data.mul_(1e30)
    with pytest.raises(InputError, match="the logits are not finite, because the weights"):
        predictor.logits([make_striped_pair(40, 60, shift=1)[0]])


def test_approximate_tiles_are_reported_once_per_size(tmp_path: Path, capsys):
    group = save_model(tmp_path / "group.safetensors", norm="group")
    predictor = Predictor([group], "cpu", "fp32", tile=64)
    image, _ = make_striped_pair(70, 200, shift=1)
    predictor.class_ids([image])
    predictor.class_ids([image])
    predictor.class_ids([image[:, :90]])  # one tile and its overlap
    assert capsys.readouterr().err.splitlines() == [
        "warning: 70x200 pixels are predicted in blended tiles of 64 pixels, which is approximate: "
        "the network sees more of the image than a tile"
    ]
