"""Split the images into training, validation and test sets."""

from roadseg.config.json_files import write_model
from roadseg.config.params import load_params
from roadseg.system.cli import parse_paths, run_main


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = parse_paths(argv, __doc__, "params", "prepared", "out")
    # imported late: numpy would delay --help
    from roadseg.data.prepared import PreparedDataset
    from roadseg.prepare.split import split_dataset

    params = load_params(args.params).split
    prepared = PreparedDataset(args.prepared)
    split = split_dataset(prepared.recorded_sizes(), prepared.test_ids(), **params.model_dump())
    write_model(args.out, split)
    counts = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
    print(f"split: {counts} in {args.out}; grouped by: {split.grouped_by or 'nothing'}")


if __name__ == "__main__":
    run_main(main)
