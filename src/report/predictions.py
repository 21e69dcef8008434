"""The report's figures: what the network of an epoch makes of training and of test pictures.

Shapes: H, W pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from src.data.cache import Cache
from src.evaluation.prediction import predicted_mask
from src.labels import ClassMap
from src.model.machine import Machine
from src.model.weights import epoch_file, load_network
from src.report.figures import save_picture_grid
from src.report.palette import colorized, overlaid


def spaced(ids: Sequence[str], count: int) -> list[str]:
    """`count` of `ids`, evenly spaced from the first to the last; all of them if they are fewer."""
    if count >= len(ids):
        return list(ids)
    return [ids[int(i)] for i in np.linspace(0, len(ids) - 1, count).round()]


def draw_epochs(
    folder: Path,
    models: Path,
    epochs: Sequence[int],
    cache: Cache,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    machine: Machine,
) -> None:
    """Write epoch_NNN_training.png and epoch_NNN_test.png for each of `epochs`.

    Args:
        models: folder with a checkpoint an epoch.
        train_ids: pictures with masks; rows of image, mask, prediction, overlay.
        test_ids: pictures without; rows of image, prediction, overlay. None of them, no figure.

    Raises:
        InputError: a checkpoint that is missing or does not fit the cached class map.
    """
    class_map = cache.class_map()
    train_pairs = [(cache.image(name), cache.mask(name)) for name in train_ids]
    test_pairs = [(cache.test_image(name), None) for name in test_ids]
    for epoch in epochs:
        network, _ = load_network(epoch_file(models, epoch), class_map)
        machine.placed(network)
        for name, pairs in (("training", train_pairs), ("test", test_pairs)):
            if pairs:
                rows = [_row(network, *pair, class_map, machine) for pair in pairs]
                title = f"{name.capitalize()} pictures after epoch {epoch}"
                path = folder / f"epoch_{epoch:03d}_{name}.png"
                save_picture_grid(path, title, rows, class_map)


def _row(
    network: nn.Module,
    image: np.ndarray,
    mask: np.ndarray | None,
    class_map: ClassMap,
    machine: Machine,
) -> dict[str, np.ndarray]:
    """Pictures (H, W, 3) uint8 by what they show, from left to right."""
    colors = class_map.colors
    predicted = predicted_mask(network, image, machine)
    truth = {} if mask is None else {"mask": colorized(mask, colors)}
    return {
        "image": np.asarray(image),
        **truth,
        "prediction": colorized(predicted, colors),
        "overlay": overlaid(image, predicted, colors),
    }
