"""Difference in mIoU and IoU between two models, paired by image and by seed, with intervals.

The 95 % intervals are symmetric bootstrap-t intervals (Hall 1988, "On symmetric bootstrap
confidence intervals"; Efron and Tibshirani 1993, section 12.5): images are resampled, and the
deviation of each draw is divided by the standard error of that draw. Percentile intervals are too
narrow on few images (docs/metrics.md has the rates). The standard error is that of the
infinitesimal jackknife (Efron and Tibshirani 1993, section 21.3), the root of the summed squares of
each image's influence. For an IoU I / U, which divides two sums over the images, the influence of
an image with intersection i and union u is (i - IoU u) / U.

With several seeds, the variance of the mean of their differences is added. Two to five seeds are
too few to resample, so the draws take their mean and variance from a normal distribution
(parametric bootstrap). Both terms contain the variance that image and seed cause jointly; this
makes the interval conservative, as in Owen 2007, "The pigeonhole bootstrap". Bouthillier et al.
2021, "Accounting for variance in machine learning benchmarks", compare the sources of variance.

Shapes: S seeds, P images, K classes without void, B draws, M = 1 + K metrics (mIoU, then the IoU of
each class).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from roadseg.evaluation.image_confusions import ImageConfusions
from roadseg.system.errors import InputError

DRAWS = 10_000
CONFIDENCE = 0.95
_CHUNK_BYTES = 1 << 23
"""Approximate size of the arrays of one chunk of draws, bytes."""
_ROUNDING = 1e-12
"""Smaller differences of IoU, and standard errors, are rounding errors."""


class Source(NamedTuple):
    """The confusion matrices of a model, and what the user calls them."""

    name: str
    table: ImageConfusions


@dataclass(frozen=True)
class Comparison:
    """The differences between two models."""

    table: pd.DataFrame
    """Columns metric (mIoU, then the names of the classes), a and b (means over the seeds, 0..1,
    NaN for an absent class), difference (b - a), and low and high, the ends of its 95 % interval,
    NaN if fewer than about six images determine the difference."""
    num_images: int
    num_seeds: int
    num_differing_masks: int
    """Number of images whose true pixels are not the same in all tables."""

    def significant(self) -> np.ndarray:
        """(M,) bool, True if the interval does not contain 0."""
        flags: np.ndarray = ((self.table["low"] > 0) | (self.table["high"] < 0)).to_numpy()
        return flags

    def verdict(self) -> str:
        """State in one sentence whether the difference in mIoU is significant."""
        row = self.table.iloc[0]
        change = f"mIoU {row['difference']:+.4f}"
        if np.isnan(row["low"]):
            return f"no significant difference: {change}, in too few images for an interval"
        change += f", 95 % interval {row['low']:+.4f} to {row['high']:+.4f}"
        if not self.significant()[0]:
            return f"no significant difference: {change}"
        return (
            f"B is significantly {'better' if row['difference'] > 0 else 'worse'} than A: {change}"
        )


def compare(
    a: Sequence[Source],
    b: Sequence[Source],
    void: str | None,
    class_order: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Compare the model B with A; a pure function of its arguments.

    Args:
        a: tables of A, one for each of its S seeds.
        b: tables of B, as many; the first is paired with the first of `a`, and so on.
        void: class that is excluded as in `segmentation_metrics`; None if there is none.
        class_order: names in the order of the class map, as tables lack absent classes; the
            classes that it lacks follow in the order of the tables.
        seed: random seed of the draws.

    Raises:
        InputError: the numbers of tables, the images or the classes in the masks differ, or no
            pixel counts.
    """
    if len(a) != len(b):
        raise InputError(f"A has {len(a)} models and B has {len(b)}; give as many for B as for A")
    sources = [*a, *b]
    found = dict.fromkeys(name for s in sources for name in s.table.class_names)
    names = list(dict.fromkeys([*(name for name in class_order if name in found), *found]))
    void_id = names.index(void) if void in names else None
    first = _align(sources[0], sources[0], names)
    counts, num_differing = [], 0
    for source in sources:
        confusions = _align(source, sources[0], names)
        differing = _differing_masks(source, confusions, sources[0], first, names)
        num_differing = max(num_differing, differing)
        counts.append(intersections_and_unions(confusions, void_id))
    by_side = np.stack(counts).reshape(2, len(a), *counts[0].shape)  # (2, S, 2, P, K)
    if not by_side[:, :, 1].any((-1, -2)).all():
        raise InputError(f"{sources[0].name}: no pixel has another true class than {void}")
    columns = ["mIoU", *(name for name in names if name != void)]
    return Comparison(_table(columns, by_side, seed), len(a[0].table.ids), len(a), num_differing)


def _align(source: Source, first: Source, names: Sequence[str]) -> np.ndarray:
    """Return the confusion matrices of `source` in the order of `first.table.ids` and `names`."""
    rows = {image: row for row, image in enumerate(source.table.ids)}
    ids = dict.fromkeys(first.table.ids)
    for has, lacks, images in ((first, source, rows), (source, first, ids)):
        missing = next((image for image in has.table.ids if image not in images), None)
        if missing is not None:
            raise InputError(
                f"{lacks.name}: image {missing}, which {has.name} has, is missing; compare models "
                "that were evaluated on the same images"
            )
    columns = [names.index(name) for name in source.table.class_names]
    aligned = np.zeros((len(ids), len(names), len(names)), dtype=np.int64)
    order = [rows[image] for image in ids]
    aligned[np.ix_(range(len(ids)), columns, columns)] = source.table.confusions[order]
    return aligned


def _differing_masks(
    source: Source, confusions: np.ndarray, first: Source, others: np.ndarray, names: Sequence[str]
) -> int:
    """Count the images whose true pixels differ; raise InputError if their classes do."""
    true, expected = confusions.sum(2), others.sum(2)  # (P, K)
    for class_id in np.flatnonzero(true.any(0) != expected.any(0))[:1]:
        has, lacks = (source, first) if true[:, class_id].any() else (first, source)
        raise InputError(
            f"{lacks.name}: class {names[class_id]}, which occurs in the masks of {has.name}, does "
            "not occur in its masks; compare models with the same class map"
        )
    return int((true != expected).any(1).sum())


def intersections_and_unions(confusions: np.ndarray, void_id: int | None) -> np.ndarray:
    """Return intersection and union of each image and class but void: (P, K, K) -> (2, P, K)."""
    if void_id is not None:
        confusions = confusions.copy()
        confusions[:, void_id] = 0  # pixels whose true class is void do not count
    intersections = np.diagonal(confusions, axis1=1, axis2=2)
    unions = confusions.sum(1) + confusions.sum(2) - intersections
    counts = np.stack([intersections, unions]).astype(np.float64)
    return counts if void_id is None else np.delete(counts, void_id, axis=2)


def _table(names: Sequence[str], counts: np.ndarray, seed: int) -> pd.DataFrame:
    """Compute `Comparison.table` with the metrics `names` from `counts` (2, S, 2, P, K)."""
    num_seeds, _, num_images, _ = counts.shape[1:]
    scores, errors = evaluate_draws(np.ones((1, num_images)), counts)
    a, b = scores.mean(1)[:, 0]  # (M,)
    difference = b - a
    seed_variance = np.zeros(len(names))
    if num_seeds > 1:
        seed_variance = (scores[1] - scores[0])[:, 0].var(0, ddof=1) / num_seeds
    statistics = np.concatenate(list(_t_statistics(counts, difference, seed_variance, seed)))
    statistics[:, np.isnan(difference)] = 0  # the quantile warns of columns without numbers
    critical = np.nanquantile(statistics, CONFIDENCE, axis=0, method="higher")  # (M,)
    with np.errstate(invalid="ignore"):  # 0 * inf
        half = critical * np.sqrt(errors[0] ** 2 + seed_variance)
    # without variance between images, only the difference 0 of equal predictions is certain
    half[(errors[0] < _ROUNDING) & (np.abs(difference) > _ROUNDING) | np.isinf(half)] = np.nan
    low, high = np.maximum(difference - half, -1), np.minimum(difference + half, 1)
    columns = {"a": a, "b": b, "difference": difference, "low": low, "high": high}
    return pd.DataFrame({"metric": names, **columns})


def _t_statistics(
    counts: np.ndarray, difference: np.ndarray, seed_variance: np.ndarray, seed: int
) -> Iterator[np.ndarray]:
    """Yield |deviation| / standard error of each draw and metric in chunks, (.., M).

    NaN if a class is absent from the draw; infinity if the draw shows no variance between images.
    """
    rng = np.random.default_rng(seed)
    num_seeds, _, num_images, num_classes = counts.shape[1:]
    chunk = max(1, _CHUNK_BYTES // (8 * (num_images + 4 * num_seeds * num_classes)))
    for start in range(0, DRAWS, chunk):
        size = min(chunk, DRAWS - start)
        times = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size)  # (B, P)
        scores, errors = evaluate_draws(times.astype(np.float64), counts)
        deviation = (scores[1] - scores[0]).mean(0) - difference  # (B, M)
        deviation[np.abs(deviation) < _ROUNDING] = 0
        degenerate = (errors < _ROUNDING) & (deviation != 0)
        variance = errors**2
        if num_seeds > 1:
            deviation += rng.standard_normal((size, 1)) * np.sqrt(seed_variance)
            freedom = num_seeds - 1
            variance += rng.chisquare(freedom, (size, 1)) / freedom * seed_variance
        infinite = np.where(degenerate, np.inf, np.abs(deviation) * 0)  # NaN stays NaN
        yield np.divide(
            np.abs(deviation), np.sqrt(variance), out=infinite, where=~degenerate & (variance > 0)
        )


def evaluate_draws(weights: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate draws of the images.

    Args:
        weights: (B, P) float64, how often each draw contains each image.
        counts: (2, S, 2, P, K) float64, intersections and unions of the seeds of A and of B.

    Returns:
        scores: (2, S, B, M), mIoU and IoU, NaN for an absent class.
        errors: (B, M), standard error of the mean over the seeds of score B - score A.
    """
    num_seeds, _, num_images, num_classes = counts.shape[1:]
    intersections, unions = np.moveaxis(weights @ counts, 2, 0)  # (2, S, B, K)
    absent = unions == 0
    num_present = np.maximum(1, num_classes - absent.sum(-1, keepdims=True))  # (2, S, B, 1)
    inverse = 1 / np.where(absent, np.inf, unions)
    ious = intersections * inverse
    mious = ious.sum(-1, keepdims=True) / num_present
    mious[absent.all(-1)] = np.nan
    slopes = np.stack([inverse, -ious * inverse], 2)  # (2, S, 2, B, K), derivatives of the IoU
    slopes *= np.array([-1, 1]).reshape(2, 1, 1, 1, 1) / num_seeds
    errors = np.empty((len(weights), 1 + num_classes))
    for column in range(1 + num_classes):
        if column == 0:
            mean = slopes / num_present[:, :, None]
            influence = np.tensordot(mean, counts, ([0, 1, 2, 4], [0, 1, 2, 4]))  # (B, P)
        else:
            one = (..., column - 1)
            influence = np.tensordot(slopes[one], counts[one], ([0, 1, 2], [0, 1, 2]))
        errors[:, column] = np.einsum("bp,bp,bp->b", weights, influence, influence)
    ious[absent] = np.nan
    factor = num_images / max(1, num_images - 1)
    return np.concatenate([mious, ious], -1), np.sqrt(factor * errors)
