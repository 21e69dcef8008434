"""Figures of predictions: selected images by epoch, and the best model's extremes."""

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
"""Maximum number of epochs side by side on a page."""
_LONGEST_ID = 16
"""Longest image id in a caption, characters."""
_FRAMES = 30
"""Maximum number of epochs in an animation, evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class SelectedImages:
    """Ids of the images to draw; the same in every epoch."""

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
    """Plot predictions of the checkpoints of `epochs` for the selected images.

    epoch_NNN_training.png: image, mask, prediction, overlay, errors. epoch_NNN_test.png: image,
    prediction, overlay. epochs.png: validation images, with the predictions of at most 5 of
    `epochs` side by side. epochs.gif: the first validation image over all epochs.

    Args:
        models: folder with one checkpoint per epoch, 1 to `num_epochs`.
        chosen: a figure without images is left out.

    Raises:
        InputError: a checkpoint is missing or does not match the class map of `prepared`.
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
    save_image_grid(folder / "epochs.png", "Validation images by epoch", rows, class_map)
    save_animation(folder / "epochs.gif", np.array(prepared.image(first)), frames, class_map.colors)


def draw_extremes(
    folder: Path,
    model: Path,
    prepared: PreparedDataset,
    mious: Mapping[str, float],
    count: int,
    accelerator: Accelerator,
) -> None:
    """Plot the validation images with the lowest and highest mIoU to hardest.png and best.png.

    Args:
        mious: mIoU of each validation image by its id, in ascending order.
        count: number of images per figure; limited to half of all images, but at least 1.
    """
    class_map = prepared.class_map()
    network = _network(model, class_map, accelerator)
    ids = list(mious)
    count = max(1, min(count, len(ids) // 2))
    for stem, rank, names in (
        ("hardest", "lowest", ids[:count]),
        ("best", "highest", ids[-count:][::-1]),
    ):
        rows = [
            ImageRow(
                comparison_panels(network, prepared, name, accelerator), _caption(name, mious[name])
            )
            for name in names
        ]
        title = f"Validation images with the {rank} mIoU, best epoch"
        save_image_grid(folder / f"{stem}.png", title, rows, class_map)


def _caption(name: str, miou: float) -> str:
    """Format id and mIoU, with the end of a long id, because ids usually differ there."""
    short = name if len(name) <= _LONGEST_ID else f"...{name[-_LONGEST_ID + 3 :]}"
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
    for kind, images in (("training", training), ("test", test)):
        if images:
            title = f"{kind.capitalize()} images after epoch {epoch}"
            rows = [ImageRow(row) for row in images]
            path = folder / f"epoch_{epoch:03d}_{kind}.png"
            save_image_grid(path, title, rows, prepared.class_map())
