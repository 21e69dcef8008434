"""Contact sheet of augmented training images, as training sees them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from roadseg.config.params import Params
from roadseg.data.augmentation import augment
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.loader import load_batch
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import BatchKeys
from roadseg.inference.colors import overlay
from roadseg.inference.image_files import select_evenly
from roadseg.reporting.figures import ImageRow, save_image_grid


def save_augmentation_sheet(
    path: Path,
    params: Params,
    prepared: PreparedDataset,
    ids: Sequence[str],
    num_images: int,
    num_epochs: int,
) -> None:
    """Plot training images as `train.recipe` changes them, and their masks below, as PNG.

    With class-uniform sampling, a sample may show another image in each epoch.

    Args:
        ids: ids of the training images, of which `num_images` evenly spaced ones are shown.
        num_epochs: epochs side by side, from the first one.
    """
    recipe, class_map = params.recipes[params.train.recipe], prepared.class_map()
    dataset = SegmentationDataset(
        prepared, ids, params.train.seed, recipe.augmentation, recipe.class_uniform
    )
    rows = []
    for index in select_evenly(range(len(ids)), num_images):
        images, masks = _samples(dataset, index, num_epochs)
        shown = {f"epoch {i}": image for i, image in enumerate(images, start=1)}
        mixed = [overlay(*pair, class_map.colors) for pair in zip(images, masks, strict=True)]
        rows.append(ImageRow(shown, dataset.ids[index]))
        rows.append(ImageRow(dict(zip(shown, mixed, strict=True))))
    title = f"Training images of the recipe {params.train.recipe}, with their masks below"
    save_image_grid(path, title, rows, class_map)


def _samples(
    dataset: SegmentationDataset, index: int, num_epochs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample in each epoch: (N, h, w, 3) uint8 images and (N, h, w) uint8 masks."""
    keys = [(epoch, index) for epoch in range(1, num_epochs + 1)]
    images, masks, transforms = load_batch(dataset, BatchKeys(keys, slice(None)))
    if transforms is not None:
        augmented, masks = augment(images.float(), masks, transforms)
        images = augmented.round().byte()
    return images.permute(0, 2, 3, 1).numpy(), masks.numpy()
