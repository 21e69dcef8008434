r"""Train variants of a recipe with several seeds, and compare them with the first one.

A row is a name and options of `dvc exp run -S`, on the command line or as a line of a file:

    python -m benchmarks.recipes --jobs 2 --seeds 0 1 2 --set train.epochs=20 --row modern \
        --row "without Lovász loss: recipes.modern.lovasz=0"
    python -m benchmarks.recipes --jobs 2 --rows rows.txt --classes

It trains on data/prepared, data/split.json and data/weights. Those of CamVid, with the official
lists and at a quarter of its size, and its params.yaml come from

    dvc exp run -S data.source=camvid -S remap.classes=camvid11 -S remap.scale=0.25 \
        -S "split.val_ids='^val_'" split weights

Or give --prepared, --split, --weights and --params. A measurement of many hours can be interrupted
at any time: the same command resumes it, and skips what is finished. --table prints what there is.
"""

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.results import (
    Result,
    compare_seeds,
    format_difference,
    format_mean,
    format_range,
    read_results,
    table_lines,
)
from benchmarks.side_by_side import run_trainings
from benchmarks.trainings import add_options, format_value, make_training
from roadseg.config.class_map import ClassMap
from roadseg.config.schema import flatten, read_yaml
from roadseg.data.prepared import PreparedDataset
from roadseg.provenance.source_code import ROOT
from roadseg.system.cli import run_main
from roadseg.system.errors import InputError


class Row(NamedTuple):
    """A variant, as it is trained with each seed."""

    name: str
    options: list[str]
    """KEY=VALUE, as for `dvc exp run -S`."""

    @property
    def folder(self) -> str:
        """The name of its directory."""
        return re.sub(r"[^\w.]+", "_", self.name).strip("._")


def parse_row(text: str) -> Row:
    """Parse `NAME` or `NAME: KEY=VALUE KEY=VALUE`; options with spaces are quoted as in a shell."""
    name, _, options = text.partition(": ")
    try:
        row = Row(name.strip(), shlex.split(options))
    except ValueError as error:
        raise InputError(f"{text!r}: {error}") from None
    if not row.folder or "=" in row.name:
        raise InputError(f"{text!r}: should be NAME or 'NAME: KEY=VALUE ..'")
    return row


def parse_rows(texts: Sequence[str], file: Path | None) -> list[Row]:
    """Parse the rows of the command line and of a file; each has a directory of its own."""
    if file is not None:
        if not file.is_file():
            raise InputError(f"{file}: no such file")
        lines = map(str.strip, file.read_text(encoding="utf-8").splitlines())
        texts = [*texts, *(line for line in lines if line and not line.startswith("#"))]
    rows = [parse_row(text) for text in texts]
    for row in rows:
        if clash := [other.name for other in rows if other.folder == row.folder][1:]:
            raise InputError(f"row {clash[0]!r}: another row has the same directory, {row.folder}")
    if not rows:
        raise InputError("no rows; add some with --row or --rows")
    return rows


def dvc_command(params: Path, options: Sequence[str]) -> str:
    """Format `dvc exp run` with options for the values that differ from params.yaml."""
    ours, theirs = (flatten(read_yaml(path)) for path in (ROOT / "params.yaml", params))
    changed = [
        f"{'' if key in ours else '+'}{key}={format_value(value)}"
        for key, value in theirs.items()
        if key not in ours or ours[key] != value
    ]
    return " ".join(["dvc exp run", *map(format_option, [*changed, *options])])


def format_option(option: str) -> str:
    """Format an option for a shell."""
    is_literal = "'" in option and not set('"$`\\!') & set(option)  # between double quotes
    return f'-S "{option}"' if is_literal else f"-S {shlex.quote(option)}"


def format_tables(
    rows: Sequence[Row],
    results: Sequence[Mapping[int, Result]],
    class_map: ClassMap,
    *,
    classes: bool,
) -> list[str]:
    """Format the finished trainings of each row, and the IoU of each class if `classes`.

    The minutes are the mean duration of a training, without the time between interruptions.
    """
    header = ["", "epochs", "minutes", "mIoU, best epoch", "mIoU, last epoch", "difference"]
    lines, per_class = [], []
    for row, by_seed in zip(rows, results, strict=True):
        found = list(by_seed.values())
        cells = [row.name, format_range([len(result.history) for result in found])]
        cells.append(f"{mean(result.minutes for result in found):.1f}" if found else "")
        cells.append(format_mean([result.metrics.best_val_miou for result in found]))
        cells.append(format_mean([result.metrics.val_miou for result in found]))
        table = compare_seeds(results[0], by_seed, class_map)
        difference = "" if table is None or row is rows[0] else format_difference(table.iloc[0])
        lines.append([*cells, difference, " ".join(map(format_option, row.options))])
        if table is not None:
            names = ["", *table["metric"][1:]]
            per_class.append([row.name, *(f"{iou:.3f}" for iou in table["b"][1:])])
    formatted = table_lines([*header, "options"], lines)
    return [*formatted, "", *table_lines(names, per_class)] if classes and per_class else formatted


def main() -> None:
    """Train what is not finished, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, ROOT / "runs/recipes")
    parser.add_argument("--row", action="append", default=[], metavar="'NAME: KEY=VALUE ..'")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="one row per line")
    parser.add_argument("--classes", action="store_true", help="also print the IoU of each class")
    args = parser.parse_args()
    rows = parse_rows(args.row, args.rows)
    trainings = [
        {
            seed: make_training(args, f"{row.folder}/{seed}", [*row.options, f"train.seed={seed}"])
            for seed in args.seeds
        }
        for row in rows
    ]
    # one seed of all rows before the next seed, so that an incomplete table is of use
    ordered = [by_seed[seed] for seed in args.seeds for by_seed in trainings]
    failures = 0 if args.table else run_trainings(ordered, args.jobs, args.accept_other_code)
    command = dvc_command(args.params, [*args.set, "train.seed=SEED"])
    print(f"\nEach row is `{command} [options]`.\n")
    results, class_map = map(read_results, trainings), PreparedDataset(args.prepared).class_map()
    print("\n".join(format_tables(rows, list(results), class_map, classes=args.classes)))
    if failures:
        raise InputError(f"{failures} of {len(ordered)} trainings failed; see above")


if __name__ == "__main__":
    run_main(main)
