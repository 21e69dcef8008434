"""Generate, download or copy the data set, and verify that it is complete."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from roadseg.config.params import Data, load_params
from roadseg.config.pipeline import stage_outputs
from roadseg.config.tracked_files import is_tracked
from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.fetch.archive import ARCHIVE
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.source import fetch
from roadseg.prepare.id_list import find_id_list, read_ids, select_ids
from roadseg.prepare.images.masks import MaskEncoding
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.files import repository_path


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = parse_paths(argv, __doc__, "params", "pipeline", "splits", "out", "downloads")
    params = load_params(args.params)
    data, sample = params.data, params.sample.model_dump()
    naming = FilePatterns(
        images=data.images,
        masks=data.masks,
        test_images=data.test_images,
        test_masks=data.test_masks,
        skip_unmasked=data.unmasked == "skip",
    )
    limits = Limits.of(data)
    # in the main repository, even if the experiment runs in a copy of it
    downloads = repository_path(args.downloads)
    store = DownloadStore(downloads, round(data.max_downloads_gigabytes * 1e9), ARCHIVE)
    outputs = stage_outputs(args.pipeline)
    encoding = MaskEncoding(values=data.mask_values, color_tolerance=data.color_tolerance)
    manifest = fetch(
        data.source,
        data.sha256,
        naming,
        limits,
        sample,
        args.out,
        store,
        outputs,
        encoding,
        None if data.test_ids is None else partial(_select_test, data, args.splits),
    )
    if manifest.num_unmasked:
        print(
            f"fetch: left out {manifest.num_unmasked:,} images without a mask (data.unmasked: skip)"
        )
    print(
        f"fetch: {manifest.num_train} images with masks and {manifest.num_test} test images "
        f"({manifest.num_test_masks} with masks) from {manifest.source} "
        f"(sha256 {manifest.sha256[:12]}...) in {args.out}"
    )


def _select_test(data: Data, splits: Path, known: Collection[str]) -> list[str]:
    """Return the ids that `data.test_ids` selects among `known`."""
    key, ids = "data.test_ids", data.test_ids
    if data.test_ids_file is not None:
        file = find_id_list(data.test_ids_file, splits, key)
        ids = read_ids(file, known, key)
        if not is_tracked(file, splits):
            print(f"fetch: DVC does not track {file}; it does if the file is in {splits}/")
    return select_ids(key, ids or [], known)


if __name__ == "__main__":
    run_main(main)
