"""Bring the data set to its place: generated, downloaded, or copied; checked and whole."""

import dataclasses

from src.command import parsed_paths, run
from src.config import load_params
from src.data.naming import Naming
from src.data.source import fetch


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "out")
    params = load_params(args.params)
    data, sample = params.data, dataclasses.asdict(params.sample)
    naming = Naming(images=data.images, masks=data.masks, test_images=data.test_images)
    manifest = fetch(data.source, data.sha256, naming, sample, args.out)
    print(
        f"fetch: {manifest['num_train']} pictures with masks and {manifest['num_test']} without "
        f"from {manifest['source']} (sha256 {manifest['sha256'][:12]}...) in {args.out}"
    )


if __name__ == "__main__":
    run(main)
