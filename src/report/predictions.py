"""The figures of predictions: by epoch on chosen pictures, and the best model's extremes.

Shapes: H, W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from src.data.cache import Cache
from src.inference.views import predicted_mask
from src.labels import ClassMap
from src.model.machine import Machine
from src.model.weights import epoch_file, load_network
from src.palette import colorized, errors, overlaid
from src.report.animation import save_animation
from src.report.figures import PictureRow, save_picture_grid


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Ids of the pictures to draw; the same in every epoch."""

    training: list[str]
    validation: list[str]
    test: list[str]


def draw_epochs(
    folder: Path,
    models: Path,
    epochs: Sequence[int],
    num_epochs: int,
    cache: Cache,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Write what the networks of `epochs` make of chosen pictures, and of one over all epochs.

    epoch_NNN_training.png: image, mask, prediction, overlay, errors. epoch_NNN_test.png: image,
    prediction, overlay. epochs.png: validation pictures, the predictions of `epochs` side by side.
    epochs.gif: the first of them over all epochs.

    Args:
        models: folder with a checkpoint an epoch, 1 to `num_epochs`.
        chosen: none of a kind, no figure of it.

    Raises:
        InputError: a checkpoint that is missing or does not fit the cached class map.
    """
    class_map = cache.class_map()
    side_by_side = [_known(cache, name) for name in chosen.validation]
    frames = []
    for epoch in tqdm(range(1, num_epochs + 1), "render", unit="epoch", leave=False, disable=None):
        network = _network(epoch_file(models, epoch), class_map, machine)
        first = cache.image(chosen.validation[0])
        frames.append((f"epoch {epoch}", predicted_mask(network, first, machine)))
        if epoch in epochs:
            _draw_epoch(folder, epoch, network, cache, chosen, machine)
            for name, row in zip(chosen.validation, side_by_side, strict=True):
                predicted = predicted_mask(network, cache.image(name), machine)
                row[f"epoch {epoch}"] = colorized(predicted, class_map.colors)
    rows = [PictureRow(row) for row in side_by_side]
    save_picture_grid(folder / "epochs.png", "Validation pictures by epoch", rows, class_map)
    save_animation(folder / "epochs.gif", np.array(first), frames, class_map.colors)


def draw_extremes(
    folder: Path,
    model: Path,
    cache: Cache,
    mious: Mapping[str, float],
    count: int,
    machine: Machine,
) -> None:
    """Write hardest.png and best.png: validation pictures by the mIoU of the model in `model`.

    Args:
        mious: of each picture, by its id, the hardest first.
        count: pictures in a figure; at most half of those there are, so that none is in both.
    """
    class_map = cache.class_map()
    network = _network(model, class_map, machine)
    ids = list(mious)
    count = max(1, min(count, len(ids) // 2))
    for kind, names in (("hardest", ids[:count]), ("best", ids[-count:][::-1])):
        rows = [
            PictureRow(_compared(network, cache, name, machine), f"{name}: mIoU {mious[name]:.2f}")
            for name in names
        ]
        title = f"The {kind} validation pictures, best epoch"
        save_picture_grid(folder / f"{kind}.png", title, rows, class_map)


def _network(path: Path, class_map: ClassMap, machine: Machine) -> nn.Module:
    return machine.placed(load_network(path, class_map)[0])


def _draw_epoch(
    folder: Path,
    epoch: int,
    network: nn.Module,
    cache: Cache,
    chosen: Chosen,
    machine: Machine,
) -> None:
    colors = cache.class_map().colors
    training = [_compared(network, cache, name, machine) for name in chosen.training]
    test = []
    for name in chosen.test:
        image = cache.test_image(name)
        test.append({"image": np.asarray(image), **_predicted(network, image, colors, machine)})
    for kind, pictures in (("training", training), ("test", test)):
        if pictures:
            title = f"{kind.capitalize()} pictures after epoch {epoch}"
            rows = [PictureRow(row) for row in pictures]
            path = folder / f"epoch_{epoch:03d}_{kind}.png"
            save_picture_grid(path, title, rows, cache.class_map())


def _known(cache: Cache, name: str) -> dict[str, np.ndarray]:
    """A picture and its mask in colours, (H, W, 3) uint8 each."""
    colors = cache.class_map().colors
    return {"image": np.asarray(cache.image(name)), "mask": colorized(cache.mask(name), colors)}


def _predicted(
    network: nn.Module, image: np.ndarray, colors: np.ndarray, machine: Machine
) -> dict[str, np.ndarray]:
    """What `network` makes of a picture, (H, W, 3) uint8 each."""
    predicted = predicted_mask(network, image, machine)
    return {
        "prediction": colorized(predicted, colors),
        "overlay": overlaid(image, predicted, colors),
    }


def _compared(
    network: nn.Module, cache: Cache, name: str, machine: Machine
) -> dict[str, np.ndarray]:
    """A picture, its mask, what `network` predicts and where that is wrong."""
    class_map, image, mask = cache.class_map(), cache.image(name), cache.mask(name)
    predicted = predicted_mask(network, image, machine)
    return {
        **_known(cache, name),
        "prediction": colorized(predicted, class_map.colors),
        "overlay": overlaid(image, predicted, class_map.colors),
        "errors": errors(image, mask, predicted, class_map.void_id),
    }
