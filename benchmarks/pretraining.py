"""Pretraining on synthetic streets: mIoU against the number of photographs, with and without it.

One network is trained on a few thousand synthetic streets, of the size of the photographs. From it
(`train.start`) and from random weights, networks are trained on 25, 50, 100 and all training images
of a photographic data set. Both sides have the same images, steps, seeds and validation images.

    python -m benchmarks.pretraining --jobs 2 --seeds 0 1 2 --scenes 3000 --pretrain-epochs 5

With data/prepared as in benchmarks/recipes.py; options and interruptions are those described there.
It prints the table, and writes pretraining.csv and pretraining.png to --out (runs/pretraining). As
there is one pretrained network, standard deviations do not contain the variance of pretraining.
"""

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.pretraining_report import (
    PRETRAINED,
    SCRATCH,
    SIDES,
    Group,
    format_table,
    result_table,
    save_plot,
)
from benchmarks.results import evaluate_best, read_results
from benchmarks.scenes import write_scenes
from benchmarks.side_by_side import run_trainings
from benchmarks.trainings import (
    Training,
    add_options,
    format_value,
    make_training,
    override_params,
)
from roadseg.config.class_map import ClassMap
from roadseg.config.json_files import read_model, write_model
from roadseg.config.params import Params
from roadseg.config.schema import parse_yaml, validate
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split, read_split
from roadseg.evaluation.metric_files import EvaluationMetrics, TrainingMetrics
from roadseg.provenance.source_code import ROOT
from roadseg.system.cli import run_main
from roadseg.system.errors import InputError
from roadseg.system.files import copy_file
from roadseg.system.tables import write_table


def draw_subset(ids: Sequence[str], count: int, seed: int) -> list[str]:
    """Draw `count` of `ids`, in their order; each subset of a seed contains the smaller ones.

    Raises:
        InputError: there are fewer ids.
    """
    if not 1 <= count <= len(ids):
        raise InputError(f"--images {count}: should be 1 to {len(ids)}, the training images")
    chosen = np.random.default_rng(seed).permutation(len(ids))[:count]
    return [ids[index] for index in sorted(chosen)]


def num_epochs(num_images: int, batch_size: int, steps: int, limit: int) -> int:
    """Return the epochs that have about `steps` steps, from 1 to `limit`."""
    return min(limit, max(1, round(steps / math.ceil(num_images / batch_size))))


def build_pretraining(args: argparse.Namespace, photographs: PreparedDataset) -> Training:
    """Draw the synthetic streets as large as most photographs, and return the training on them."""
    folder, ids = args.out.resolve() / "scenes", photographs.train_ids()
    size = Counter(map(photographs.size, ids)).most_common(1)[0][0]
    scenes = write_scenes(folder, photographs, args.scenes, size, args.scene_seed)
    ids = scenes.train_ids()
    val_ids = draw_subset(ids, max(1, len(ids) // 20), args.scene_seed)
    train_ids = [image_id for image_id in ids if image_id not in set(val_ids)]
    write_model(folder / "split.json", Split(train=train_ids, val=val_ids, test=[]))
    paths = {"prepared": scenes.root, "split": folder / "split.json"}
    return _training(args, "scenes/training", args.pretrain_epochs, args.seeds[0], "null", **paths)


def _training(
    args: argparse.Namespace, name: str, epochs: int, seed: int, start: str, **paths: Path
) -> Training:
    values = {"epochs": epochs, "seed": seed, "start": start}
    options = [f"train.{key}={value}" for key, value in values.items()]
    return make_training(args, name, [*options, "render.epochs=[last]"], **paths)


def build_groups(args: argparse.Namespace, split: Split, start: Path) -> list[Group]:
    """Write the splits with fewer training images, and return the trainings on them."""
    total = len(split.train)
    batch_size = load_batch_size(args.params, args.set)
    groups = []
    for count in args.images or [*(n for n in (25, 50, 100) if n < total), total]:
        file = args.out.resolve() / f"split_{count}.json"
        ids = draw_subset(split.train, count, args.subset_seed)
        write_model(file, Split(train=ids, val=split.val, test=[]))
        epochs = num_epochs(count, batch_size, args.steps, args.max_epochs)
        starts = {SCRATCH: "null", PRETRAINED: format_value(str(start))}
        trainings = {
            side: {
                seed: _training(args, f"{side}/{count}/{seed}", epochs, seed, value, split=file)
                for seed in args.seeds
            }
            for side, value in starts.items()
        }
        groups.append(Group(count, epochs, epochs * math.ceil(count / batch_size), trainings))
    return groups


def load_batch_size(params: Path, options: Sequence[str]) -> int:
    """Return the batch size of the recipe; the numbers of epochs depend on it."""
    size = validate(Params, parse_yaml(override_params(params, options))).recipe.batch_size
    if not isinstance(size, int):
        raise InputError(f"recipe: batch_size {size} should be a number here; use --set")
    return size


def miou_without_photographs(args: argparse.Namespace, pretrained: Training) -> float:
    """Return the mIoU of the pretrained network on the photographs, before it has seen any."""
    options = ["train.epochs=1", "render.epochs=[last]"]
    training = make_training(args, "no_photographs", options)
    metrics = training.folder / "evaluate.json"
    if not metrics.exists():
        copy_file(pretrained.folder / "best.safetensors", training.folder / "best.safetensors")
        evaluate_best(training)
    return read_model(EvaluationMetrics, metrics).miou


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, ROOT / "runs/pretraining")
    for name, value, text in (
        ("scenes", 3000, "synthetic streets; 5 %% of them are only for validation"),
        ("scene-seed", 0, "of the synthetic streets"),
        ("pretrain-epochs", 5, "epochs on the synthetic streets"),
        ("subset-seed", 0, "of the choice of the photographs"),
        ("steps", 2000, "steps of each training on photographs, approximately"),
        ("max-epochs", 60, "largest number of epochs on photographs"),
    ):
        help_text = f"{text} (default {value})"
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N", help=help_text)
    parser.add_argument("--images", type=int, nargs="+", metavar="N", help="numbers of photographs")
    return parser.parse_args()


def main() -> None:
    """Train what is not finished, then print the table and write the plot."""
    args = parse_arguments()
    photographs = PreparedDataset(args.prepared)
    pretrained = build_pretraining(args, photographs)
    start = pretrained.folder / "best.safetensors"
    groups = build_groups(args, read_split(args.split), start)
    # one seed of all groups before the next seed, so that an incomplete table is of use
    trainings = [
        group.trainings[side][seed] for seed in args.seeds for group in groups for side in SIDES
    ]
    failures = 0
    if not args.table:
        if run_trainings([pretrained], 1, args.accept_other_code):
            raise InputError("the training on synthetic streets failed; see above")
        failures = run_trainings(trainings, args.jobs, args.accept_other_code)
    if not pretrained.record.exists():
        raise InputError("the training on synthetic streets is not finished")
    report(args, groups, pretrained, photographs.class_map())
    if failures:
        raise InputError(f"{failures} of {len(trainings)} trainings failed; see above")


def report(
    args: argparse.Namespace,
    groups: Sequence[Group],
    pretrained: Training,
    class_map: ClassMap,
) -> None:
    """Print the table, and write the table of all trainings and the plot."""
    results = [{side: read_results(group.trainings[side]) for side in SIDES} for group in groups]
    scenes = read_model(TrainingMetrics, pretrained.folder / "train.json")
    without = miou_without_photographs(args, pretrained)
    print(
        f"\nOne network, trained on {args.scenes} synthetic streets for {args.pretrain_epochs} "
        f"epochs ({pretrained.seconds() / 60:.1f} minutes): mIoU {scenes.best_val_miou:.3f} on "
        f"others of them, {without:.3f} on the photographs before it has seen any.\n"
    )
    print("\n".join(format_table(groups, results, class_map)))
    table = result_table(groups, results)
    write_table(args.out / "pretraining.csv", table)
    if len(table):
        save_plot(args.out / "pretraining.png", table)


if __name__ == "__main__":
    run_main(main)
