"""False-positive rates of `roadseg compare` on pairs of equal models, by kind of interval.

`python -m benchmarks.comparison` prints the tables of docs/metrics.md (half an hour on one core).
With `--tables A.csv B.csv`, the confusion matrices of two real models are used: exchanging A and B
in each image at random makes the models equal.

Shapes: S seeds, P images, K classes, B draws.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np

from roadseg.evaluation.comparison import (
    Source,
    compare,
    evaluate_draws,
    intersections_and_unions,
)
from roadseg.evaluation.image_confusions import ImageConfusions, read_image_confusions

SIZES = (20, 50, 200)
SEEDS = (2, 3, 5)
DRAWS = 2000
_FREQUENCY = np.array([340, 280, 150, 80, 70, 50, 10, 4, 4, 4, 4, 4]) / 1000
"""Fractions of the pixels of KITTI's classes, rounded."""
_PIXELS = 96 * 320

Pair = tuple[np.ndarray, np.ndarray]
"""Confusion matrices of the seeds of A and of B, each (S, P, K, K) int64."""


def simulate_pair(
    rng: np.random.Generator, num_images: int, num_seeds: int = 1, seed_deviation: float = 0
) -> Pair:
    """Simulate two models with one distribution of errors and independent errors.

    Rare classes are absent from many images and harder; sizes of classes vary by a factor of three,
    and the difficulty of an image and of a class in it (in logits of the error) is the same for all
    models. Each model has its own deviation for each image and class, and with `seed_deviation` for
    each class. Wrong pixels go to few classes.
    """
    num_classes, shape = len(_FREQUENCY), (num_images, len(_FREQUENCY))
    rarity = np.log10(_FREQUENCY / _FREQUENCY.min())
    present = rng.random(shape) < np.clip(0.25 + 0.25 * rarity, 0, 0.98)
    sizes = rng.gamma(1.5, size=shape) * _FREQUENCY * present
    sizes[:, 0] += 0.001
    true = np.round(sizes / sizes.sum(1, keepdims=True) * _PIXELS)  # (P, K)
    error = np.clip(0.35 - 0.13 * rarity, 0.03, 0.5)
    logits = np.log(error / (1 - error)) + rng.normal(0, 0.6, shape)
    logits += rng.normal(0, 0.5, (num_images, 1))
    models = []
    for _ in range(2 * num_seeds):
        own = rng.normal(0, 0.5, shape) + rng.normal(0, seed_deviation, num_classes)
        rates = 1 / (1 + np.exp(-logits - own))
        targets = rng.dirichlet(np.full(num_classes, 0.3), shape) * np.sqrt(_FREQUENCY)
        targets[:, range(num_classes), range(num_classes)] = 0
        targets /= np.maximum(targets.sum(-1, keepdims=True), 1e-12)
        wrong = np.round((true * rates)[..., None] * targets).astype(np.int64)  # (P, K, K)
        right = np.maximum(true.astype(np.int64) - wrong.sum(-1), 0)
        models.append(wrong + right[..., None] * np.eye(num_classes, dtype=np.int64))
    return np.stack(models[:num_seeds]), np.stack(models[num_seeds:])


def swap_pair(rng: np.random.Generator, tables: list[ImageConfusions]) -> Pair:
    """Exchange the two models in each image with probability 1/2, for images drawn at random."""
    first, second = (table.confusions for table in tables)
    chosen = rng.integers(len(first), size=len(first))
    swap = rng.integers(2, size=(len(first), 1, 1)) == 1
    a, b = first[chosen], second[chosen]
    return np.where(swap, b, a)[None], np.where(swap, a, b)[None]


def is_significant(pair: Pair) -> bool:
    """True if `roadseg compare` calls the difference in mIoU significant."""
    names = [str(i) for i in range(pair[0].shape[2])]
    ids = [str(i) for i in range(pair[0].shape[1])]
    a, b = ([Source("", ImageConfusions(names, ids, seed)) for seed in side] for side in pair)
    return bool(compare(a, b, None).significant()[0])


def other_methods(rng: np.random.Generator, pair: Pair) -> dict[str, bool]:
    """Decide by other bootstrap intervals, and by a permutation test, for one seed."""
    counts = np.stack([intersections_and_unions(side[0], None)[None] for side in pair])
    num_images = counts.shape[3]

    def differences(weights: np.ndarray, counts: np.ndarray = counts) -> np.ndarray:
        scores, _ = evaluate_draws(weights, counts[..., :])
        return scores[1, 0, :, 0] - scores[0, 0, :, 0]

    estimate = differences(np.ones((1, num_images)))[0]
    draws = differences(
        rng.multinomial(num_images, np.full(num_images, 1 / num_images), DRAWS).astype(float)
    )
    omitted = differences(1 - np.eye(num_images))  # jackknife
    low, high = np.percentile(draws, (2.5, 97.5))
    bca_low, bca_high = np.percentile(draws, _bca_levels(estimate, draws, omitted))
    swaps = rng.integers(2, size=(DRAWS, num_images)).astype(float)
    both = np.concatenate([counts, counts[::-1]], axis=3)  # (2, 1, 2, 2 P, K)
    permuted = differences(np.hstack([swaps, 1 - swaps]), both)
    p_value = (1 + (np.abs(permuted) >= abs(estimate) - 1e-12).sum()) / (1 + DRAWS)
    return {
        "percentile": not low <= 0 <= high,
        "basic": not 2 * estimate - high <= 0 <= 2 * estimate - low,
        "BCa": not bca_low <= 0 <= bca_high,
        "permutation test": p_value <= 0.05,
    }


def _bca_levels(estimate: float, draws: np.ndarray, omitted: np.ndarray) -> list[float]:
    """Percentiles of the BCa interval (Efron and Tibshirani 1993, section 14.3)."""
    normal = NormalDist()
    skew = omitted.mean() - omitted
    acceleration = (skew**3).sum() / (6 * (skew**2).sum() ** 1.5)
    bias = normal.inv_cdf(float(np.clip((draws < estimate).mean(), 1e-4, 1 - 1e-4)))
    shifted = [bias + normal.inv_cdf(level) for level in (0.025, 0.975)]
    return [100 * normal.cdf(bias + s / (1 - acceleration * s)) for s in shifted]


def rates(
    name: str,
    make_pair: Callable[[np.random.Generator], Pair],
    args: argparse.Namespace,
    *,
    others: bool,
) -> Iterator[str]:
    """Yield a row of the table: false positives of each method in percent."""
    rng, found = np.random.default_rng(args.seed), Counter[str]()
    for _ in range(args.pairs):
        pair = make_pair(rng)
        found["compare"] += is_significant(pair)
        if others:
            found.update({key: int(flag) for key, flag in other_methods(rng, pair).items()})
    cells = [f"{100 * count / args.pairs:.1f}" for count in found.values()]
    yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000, metavar="N", help="pairs per row")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed of the pairs")
    parser.add_argument("--tables", type=Path, nargs=2, metavar="CSV")
    args = parser.parse_args()
    header = "| one seed | `compare` | percentile | basic | BCa | permutation test |"
    print(header, "|---" * 6 + "|", sep="\n", flush=True)
    if args.tables:
        tables = [read_image_confusions(path) for path in args.tables]
        name = f"{len(tables[0].ids)} real images"
        print(*rates(name, lambda rng: swap_pair(rng, tables), args, others=True))
        return
    for size in SIZES:
        make_pair = lambda rng, size=size: simulate_pair(rng, size)  # noqa: E731
        print(*rates(f"{size} images", make_pair, args, others=True), flush=True)
    for deviation in (0.0, 0.1, 0.3):
        for seeds in SEEDS:
            make_pair = lambda rng, s=seeds, d=deviation: simulate_pair(rng, 20, s, d)  # noqa: E731
            name = f"20 images, {seeds} seeds, deviation {deviation:g}"
            print(*rates(name, make_pair, args, others=False), flush=True)


if __name__ == "__main__":
    main()
