"""Choose which pictures train and which validate; the test pictures stay apart."""

from roadseg.config.json_files import write_model
from roadseg.config.params import load_params
from roadseg.system.cli import parse_paths, run_main


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params", "prepared", "out")
    # numpy takes longer to import than --help may take
    from roadseg.data.prepared import PreparedDataset
    from roadseg.prepare.split import split_dataset

    params = load_params(args.params).split
    prepared = PreparedDataset(args.prepared)
    split = split_dataset(prepared.recorded_sizes(), prepared.test_ids(), **params.model_dump())
    write_model(args.out, split)
    counts = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
    print(f"split: {counts} in {args.out}; groups kept whole: {split.grouped_by or 'none'}")


if __name__ == "__main__":
    run_main(main)
