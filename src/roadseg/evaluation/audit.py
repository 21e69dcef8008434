"""Rank images and regions by how likely their labels are wrong, from out-of-fold probabilities.

cleanlab.segmentation exists (Lad and Mueller 2023, "Estimating label quality and errors in semantic
segmentation data via any model"). It scores pixels and images, from the probabilities of the whole
data set in memory; this module scores regions too, and holds the probabilities of one image. The
score of an image is that of its highest region, which found relabeled objects better than
cleanlab's softmin over the pixels (docs/audit.md).

Shapes: K classes, H and W pixels, R regions.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.components import connected_components
from roadseg.evaluation.out_of_fold import Fold
from roadseg.models.model_file import load_network
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError

MAX_REGIONS = 100_000
"""Number of regions that are kept, so that memory does not grow with the data set."""
_LOWEST = 1e-4
"""Smaller probabilities of the label count as this one, so that no pixel decides alone."""

Box = tuple[int, int, int, int]
"""Top, left, bottom and right; half-open."""


@dataclass(frozen=True)
class Region:
    """Connected pixels of one labeled class for which the models predict other classes."""

    image: str
    class_id: int
    suggested_id: int
    """The class with most of the evidence against the label."""
    box: Box
    """In pixels of the prepared image."""
    pixels: int
    score: float
    """See `find_regions`; at least 0, high if the label is likely to be wrong."""


@dataclass(frozen=True)
class RegionView:
    """A region and what there is to see of it."""

    region: Region
    image: np.ndarray
    """(H, W, 3) uint8, RGB, the whole image."""
    class_ids: np.ndarray
    """(H, W) uint8, the label; class ids or IGNORE_INDEX."""
    predicted: np.ndarray
    """(H, W) uint8 class ids."""
    inside: np.ndarray
    """The pixels of the region in its box, bool."""


@dataclass(frozen=True)
class Audit:
    """The result of `audit_labels`."""

    images: list[tuple[str, float]]
    """Id and score of each image that has labels, the highest score first."""
    num_regions: int
    regions: list[Region]
    """The first MAX_REGIONS of them, the highest score first."""
    views: list[RegionView]
    """Views of the first regions."""


@torch.inference_mode()
def audit_labels(
    folds: Sequence[Fold], prepared: PreparedDataset, accelerator: Accelerator, num_views: int
) -> Audit:
    """Score the labels of the images of all `folds`, which the models of the fold have not seen.

    Each image is in memory alone; predictions are kept for the `num_views` highest regions only.

    Raises:
        InputError: a model cannot be read, or its logits are not finite.
    """
    images: list[tuple[str, float]] = []
    regions: list[Region] = []
    views: list[RegionView] = []
    num_regions = 0
    for image_id, probabilities in _predict(folds, prepared, accelerator):
        image, class_ids = prepared.pair(image_id)
        counted = class_ids != IGNORE_INDEX
        if (void_id := prepared.class_map().void_id) is not None:
            counted &= class_ids != void_id
            probabilities[void_id] = 0  # a prediction of void does not contradict a label
        if not counted.any():
            continue
        found, numbers = find_regions(image_id, class_ids, probabilities, counted)
        images.append((image_id, max((region.score for region in found), default=0.0)))
        num_regions += len(found)
        regions += found
        if len(regions) > 2 * MAX_REGIONS:
            regions = heapq.nsmallest(MAX_REGIONS, regions, key=_rank)
        predicted = probabilities.argmax(0).astype(np.uint8)
        best = heapq.nsmallest(num_views, range(len(found)), key=lambda i: _rank(found[i]))
        for i in best:
            top, left, bottom, right = found[i].box
            inside = numbers[top:bottom, left:right] == i
            views.append(RegionView(found[i], image, class_ids, predicted, inside))
        views = heapq.nsmallest(num_views, views, key=lambda view: _rank(view.region))
    images.sort(key=lambda pair: (-pair[1], pair[0]))
    return Audit(images, num_regions, heapq.nsmallest(MAX_REGIONS, regions, key=_rank), views)


def _predict(
    folds: Sequence[Fold], prepared: PreparedDataset, accelerator: Accelerator
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each image id with the mean probabilities of the models of its fold, (K, H, W)."""
    class_map = prepared.class_map()
    with tqdm(total=sum(len(f.ids) for f in folds), desc="audit", unit="img", disable=None) as bar:
        for fold in folds:
            networks = [load_network(path, class_map)[0] for path in fold.models]
            networks = [accelerator.to_device(network) for network in networks]
            for image_id in fold.ids:
                image = prepared.image(image_id)
                probabilities = _mean_probabilities(networks, image, accelerator)
                if not np.isfinite(probabilities).all():
                    raise InputError(f"{fold.models[0]}: its logits are not finite; train again")
                yield image_id, probabilities
                bar.update()


def find_regions(
    image_id: str, class_ids: np.ndarray, probabilities: np.ndarray, counted: np.ndarray
) -> tuple[list[Region], np.ndarray]:
    """Find the connected pixels of one labeled class for which another class is predicted.

    The evidence of a pixel is ln(p of the predicted class / p of the label). The score of a region
    is the sum of its evidence, divided by the fourth root of its size times the size of the
    labeled segment (connected pixels of one class) that contains it. So large regions count more
    than small ones, and thin regions along the outline of a large segment, where predictions are
    least exact, less than segments that are predicted differently as a whole.

    Args:
        class_ids: (H, W) uint8, class ids or IGNORE_INDEX.
        probabilities: (K, H, W) float32, 0..1.
        counted: (H, W) bool, pixels that have a label.

    Returns:
        R regions in the order of their first pixels, and their numbers in this list, (H, W) int64;
        -1 for other pixels.
    """
    predicted = probabilities.argmax(0)
    differ = counted & (predicted != class_ids)
    numbers = connected_components(class_ids, differ)
    inside = numbers[differ]  # (n,), as all arrays of pixels below
    count = inside.max(initial=-1) + 1
    rows, columns = np.nonzero(differ)
    of_label = probabilities[class_ids[differ], rows, columns]
    highest = probabilities[predicted[differ], rows, columns]
    evidence = np.log(highest / np.maximum(of_label, _LOWEST)).clip(0).astype(np.float64)
    by_class = np.zeros((count, len(probabilities)))
    np.add.at(by_class, (inside, predicted[differ]), evidence)
    segments = connected_components(class_ids, counted)
    segment_sizes = np.bincount(segments[counted])[segments[differ]]
    pixels = np.bincount(inside, minlength=count)
    first = np.unique(inside, return_index=True)[1]
    scores = by_class.sum(1) / (pixels * segment_sizes[first]) ** 0.25
    boxes = _boxes(differ, inside, count)
    regions = [
        Region(image_id, int(class_id), int(suggested), box, int(size), float(score))
        for class_id, suggested, box, size, score in zip(
            class_ids[differ][first], by_class.argmax(1), boxes, pixels, scores, strict=True
        )
    ]
    return regions, numbers


def _boxes(differ: np.ndarray, inside: np.ndarray, count: int) -> list[Box]:
    """Return the boxes of `count` regions; `inside` numbers the pixels of `differ`."""
    position = np.argwhere(differ)  # (n, 2)
    low, high = np.full((count, 2), max(differ.shape)), np.zeros((count, 2), dtype=np.int64)
    np.minimum.at(low, inside, position)
    np.maximum.at(high, inside, position + 1)
    return [
        (top, left, bottom, right)
        for (top, left), (bottom, right) in zip(low.tolist(), high.tolist(), strict=True)
    ]


def _mean_probabilities(
    networks: Sequence[nn.Module], image: np.ndarray, accelerator: Accelerator
) -> np.ndarray:
    """Return the mean probabilities of `networks`, (K, H, W) float32, of (H, W, 3) uint8, RGB."""
    batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    images = accelerator.images(batch)
    by_network = [accelerator.logits(network, images).float().softmax(1) for network in networks]
    return torch.stack(by_network).mean(0)[0].cpu().numpy()


def _rank(region: Region) -> tuple[float, str, Box]:
    """Sort key: descending scores; ties by image and box."""
    return (-region.score, region.image, region.box)
