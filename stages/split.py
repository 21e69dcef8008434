"""Choose which pictures train and which validate; the test pictures stay apart."""

import dataclasses

from src.command import parsed_paths, run
from src.config import load_params
from src.data.cache import Cache
from src.data.split import split_dataset
from src.files import write_json


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "cache", "out")
    params = load_params(args.params).split
    cache = Cache(args.cache)
    split = split_dataset(cache.recorded_sizes(), cache.test_ids(), **dataclasses.asdict(params))
    write_json(args.out, split)
    counts = ", ".join(f"{len(split[part])} {part}" for part in ("train", "val", "test"))
    groups = split["grouped_by"] or "none"
    print(f"split: {counts} in {args.out}; groups kept whole: {groups}")


if __name__ == "__main__":
    run(main)
