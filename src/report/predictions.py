"""The report's figures: what the network of an epoch makes of training and of test pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from src.data.cache import Cache
from src.evaluation.prediction import predicted_mask
from src.model.machine import Machine
from src.report.figures import save_picture_grid
from src.report.palette import colorized, overlaid


def spaced(ids: Sequence[str], count: int) -> list[str]:
    """`count` of `ids`, evenly spaced from the first to the last; all of them if they are fewer."""
    if count >= len(ids):
        return list(ids)
    return [ids[int(i)] for i in np.linspace(0, len(ids) - 1, count).round()]


def draw_training(
    path: Path, title: str, network: nn.Module, cache: Cache, ids: Sequence[str], machine: Machine
) -> None:
    """Rows of image, mask, prediction and overlay for pictures that have masks."""
    class_map = cache.class_map()
    colors, rows = class_map.colors, []
    for name in ids:
        image, mask = np.asarray(cache.image(name)), cache.mask(name)
        predicted = predicted_mask(network, image, machine)
        shown = overlaid(image, predicted, colors)
        rows.append([image, colorized(mask, colors), colorized(predicted, colors), shown])
    save_picture_grid(path, title, ("image", "mask", "prediction", "overlay"), rows, class_map)


def draw_test(
    path: Path, title: str, network: nn.Module, cache: Cache, ids: Sequence[str], machine: Machine
) -> None:
    """Rows of image, prediction and overlay for pictures without masks."""
    class_map = cache.class_map()
    colors, rows = class_map.colors, []
    for name in ids:
        image = np.asarray(cache.test_image(name))
        predicted = predicted_mask(network, image, machine)
        rows.append([image, colorized(predicted, colors), overlaid(image, predicted, colors)])
    save_picture_grid(path, title, ("image", "prediction", "overlay"), rows, class_map)
