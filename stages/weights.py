"""Download or copy the initial weights of the encoder, and verify that they fit it."""

import sys
from pathlib import Path

from roadseg.config.params import Params, load_params
from roadseg.provenance.encoder_weights import (
    RESEARCH_ONLY,
    WeightsRecord,
    imagenet_license,
    write_weights_record,
)
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.files import atomic_folder, repository_path


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = parse_paths(argv, __doc__, "params", "out", "downloads")
    params = load_params(args.params)
    with atomic_folder(args.out) as folder:
        if params.model.encoder is None or params.model.weights == "none":
            record, summary = WeightsRecord(source="none"), "none"
        else:
            downloads = repository_path(args.downloads)
            record, summary = _convert(params, params.model.encoder, downloads, folder)
        write_weights_record(folder, record)
    if record.license == RESEARCH_ONLY:
        print(f"warning: weights of {record.encoder}: {record.license}", file=sys.stderr)
    print(f"weights: {summary}; in {args.out}")


def _convert(
    params: Params, encoder: str, downloads: Path, folder: Path
) -> tuple[WeightsRecord, str]:
    """Write the weights that `model.weights` names to `folder`."""
    # imported only if needed: torch takes seconds
    from roadseg.models.encoder_weights import convert_encoder_weights, find_imagenet_weights
    from roadseg.models.smp import TESTED_ENCODERS
    from roadseg.prepare.downloads.download import hide_credentials
    from roadseg.prepare.downloads.download_store import DownloadStore
    from roadseg.prepare.weights_file import WEIGHTS, weights_file

    weights, expected = params.model.weights, params.model.weights_sha256
    origin = {"license": "not stated"}
    source: str | Path = weights if params.model.weights_path is None else repository_path(weights)
    if weights == "imagenet":
        source, repository, revision = find_imagenet_weights(encoder)
        license_ = imagenet_license(encoder, repository)
        origin = {"license": license_, "repository": repository, "revision": revision}
    store = DownloadStore(downloads, round(params.data.max_downloads_gigabytes * 1e9), WEIGHTS)
    limit = round(params.data.max_gigabytes * 1e9)
    with weights_file(source, expected, store, limit) as (path, sha256):
        tensors = convert_encoder_weights(path, encoder, folder)
    if encoder not in TESTED_ENCODERS:
        print(
            f"warning: encoder {encoder} is untested; images are normalized with the usual mean "
            "and standard deviation of ImageNet, which may not be those of its weights",
            file=sys.stderr,
        )
    shown = hide_credentials(weights)
    record = WeightsRecord(source=shown, encoder=encoder, sha256=sha256, **origin)
    return record, f"{tensors} of {shown} (sha256 {sha256[:12]}...) for {encoder}"


if __name__ == "__main__":
    run_main(main)
