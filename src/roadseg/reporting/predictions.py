"""The figures of predictions: by epoch on chosen pictures, and the best model's extremes.

Shapes: H, W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from roadseg.config.class_map import ClassMap
from roadseg.data.prepared import PreparedDataset
from roadseg.inference.colors import colorize
from roadseg.inference.image_files import select_evenly
from roadseg.inference.tta import predict_mask
from roadseg.models.model_file import epoch_file, load_network
from roadseg.reporting.animation import save_animation
from roadseg.reporting.figures import ImageRow, save_image_grid
from roadseg.reporting.panels import comparison_panels, image_and_mask, prediction_and_overlay
from roadseg.runtime.accelerator import Accelerator

_COLUMNS = 5
"""Epochs that fit side by side on a page."""
_LETTERS = 16
"""Of a picture's id in its caption."""
_FRAMES = 30
"""Epochs that an animation shows, evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class SelectedImages:
    """Ids of the pictures to draw; the same in every epoch."""

    training: list[str]
    validation: list[str]
    test: list[str]


def draw_epochs(
    folder: Path,
    models: Path,
    epochs: Sequence[int],
    num_epochs: int,
    prepared: PreparedDataset,
    chosen: SelectedImages,
    accelerator: Accelerator,
) -> None:
    """Write what the networks of `epochs` make of chosen pictures, and of one over all epochs.

    epoch_NNN_training.png: image, mask, prediction, overlay, errors. epoch_NNN_test.png: image,
    prediction, overlay. epochs.png: validation pictures, the predictions of `epochs` side by side,
    of some where they are many. epochs.gif: the first of them over the epochs.

    Args:
        models: folder with a checkpoint an epoch, 1 to `num_epochs`.
        chosen: none of a kind, no figure of it.

    Raises:
        InputError: a checkpoint that is missing or does not fit the cached class map.
    """
    class_map, first = prepared.class_map(), chosen.validation[0]
    side_by_side = {name: image_and_mask(prepared, name) for name in chosen.validation}
    frames, in_columns = [], select_evenly(epochs, _COLUMNS)
    drawn = sorted({*select_evenly(range(1, num_epochs + 1), _FRAMES), *epochs})
    for epoch in tqdm(drawn, "render", unit="epoch", leave=False, disable=None):
        network = _network(epoch_file(models, epoch), class_map, accelerator)
        for name in chosen.validation if epoch in in_columns else [first]:
            class_ids = predict_mask(network, prepared.image(name), accelerator)
            if epoch in in_columns:
                side_by_side[name][f"epoch {epoch}"] = colorize(class_ids, class_map.colors)
            if name == first:
                frames.append((f"epoch {epoch}", class_ids))
        if epoch in epochs:
            _draw_epoch(folder, epoch, network, prepared, chosen, accelerator)
    rows = [ImageRow(row) for row in side_by_side.values()]
    save_image_grid(folder / "epochs.png", "Validation pictures by epoch", rows, class_map)
    save_animation(folder / "epochs.gif", np.array(prepared.image(first)), frames, class_map.colors)


def draw_extremes(
    folder: Path,
    model: Path,
    prepared: PreparedDataset,
    mious: Mapping[str, float],
    count: int,
    accelerator: Accelerator,
) -> None:
    """Write hardest.png and best.png: validation pictures by the mIoU of the model in `model`.

    Args:
        mious: of each picture, by its id, the hardest first.
        count: pictures in a figure; at most half of those there are, but one.
    """
    class_map = prepared.class_map()
    network = _network(model, class_map, accelerator)
    ids = list(mious)
    count = max(1, min(count, len(ids) // 2))
    for kind, names in (("hardest", ids[:count]), ("best", ids[-count:][::-1])):
        rows = [
            ImageRow(
                comparison_panels(network, prepared, name, accelerator), _caption(name, mious[name])
            )
            for name in names
        ]
        title = f"The {kind} validation pictures, best epoch"
        save_image_grid(folder / f"{kind}.png", title, rows, class_map)


def _caption(name: str, miou: float) -> str:
    """Short enough for a picture; the end of an id tells most."""
    short = name if len(name) <= _LETTERS else f"...{name[-_LETTERS + 3 :]}"
    return f"{short}: mIoU {miou:.2f}"


def _network(path: Path, class_map: ClassMap, accelerator: Accelerator) -> nn.Module:
    return accelerator.to_device(load_network(path, class_map)[0])


def _draw_epoch(
    folder: Path,
    epoch: int,
    network: nn.Module,
    prepared: PreparedDataset,
    chosen: SelectedImages,
    accelerator: Accelerator,
) -> None:
    colors = prepared.class_map().colors
    training = [comparison_panels(network, prepared, name, accelerator) for name in chosen.training]
    test = []
    for name in chosen.test:
        image = np.array(prepared.test_image(name))
        class_ids = predict_mask(network, image, accelerator)
        test.append({"image": image, **prediction_and_overlay(image, class_ids, colors)})
    for kind, pictures in (("training", training), ("test", test)):
        if pictures:
            title = f"{kind.capitalize()} pictures after epoch {epoch}"
            rows = [ImageRow(row) for row in pictures]
            path = folder / f"epoch_{epoch:03d}_{kind}.png"
            save_image_grid(path, title, rows, prepared.class_map())
