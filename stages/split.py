"""Split the images into training, validation and test sets."""

from roadseg.config.json_files import write_model
from roadseg.config.params import load_params
from roadseg.config.tracked_files import is_tracked
from roadseg.system.cli import parse_paths, run_main


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = parse_paths(argv, __doc__, "params", "prepared", "splits", "out")
    # imported late: numpy would delay --help
    from roadseg.data.prepared import PreparedDataset
    from roadseg.prepare.id_list import find_id_list, read_ids
    from roadseg.prepare.split import split_dataset

    params = load_params(args.params).split
    prepared = PreparedDataset(args.prepared)
    sizes, options = prepared.recorded_sizes(), params.model_dump()
    if params.val_ids_file is not None:
        file = find_id_list(params.val_ids_file, args.splits)
        options["val_ids"] = read_ids(file, sizes)
        if not is_tracked(file, args.splits):
            print(f"split: DVC does not track {file}; it does if the file is in {args.splits}/")
    split = split_dataset(sizes, prepared.test_ids(), **options)
    write_model(args.out, split)
    counts = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
    print(f"split: {counts} in {args.out}; grouped by: {split.grouped_by or 'nothing'}")


if __name__ == "__main__":
    run_main(main)
