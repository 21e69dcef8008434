"""Compare DVC experiments: a table, a CSV file and a parallel-coordinates plot.

With --over, also the mean and standard deviation over folds or seeds.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --by, --over, --all-commits and --out."""
    parser.add_argument(
        "--by",
        default="evaluate.miou",
        metavar="METRIC",
        help="sort and color by METRIC (default: %(default)s)",
    )
    parser.add_argument(
        "--over",
        metavar="KEY",
        help="also print mean and standard deviation over this parameter, such as train.seed",
    )
    parser.add_argument(
        "--all-commits", action="store_true", help="include experiments based on other commits"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("experiments"),
        metavar="DIR",
        help="output folder (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the table, and write it and the plot."""
    from roadseg.experiments.aggregate import format_summaries, group_by_other_params
    from roadseg.experiments.dvc_experiments import load_experiments
    from roadseg.experiments.table import format_table, make_table, save_parallel_plot, save_table

    experiments = load_experiments(all_commits=args.all_commits)
    table = make_table(experiments, args.by)
    print(format_table(table))
    args.out.mkdir(parents=True, exist_ok=True)
    save_table(args.out / "table.csv", table)
    plot = args.out / "parallel.png"
    if len(table.finished) >= 2:
        save_parallel_plot(plot, table)
        print(f"wrote {args.out / 'table.csv'} and {plot}")
    else:
        plot.unlink(missing_ok=True)  # a plot of an earlier run would not match the table
        print(f"wrote {args.out / 'table.csv'}; the plot needs at least two finished experiments")
    if args.over:
        print("\n" + format_summaries(group_by_other_params(experiments, args.over), args.over))
