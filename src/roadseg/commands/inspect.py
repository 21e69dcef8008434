"""Show what a model was made from: code, data, parameters, versions and machine."""

import argparse
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.provenance.source_code import ROOT, blob_id
from roadseg.system.errors import InputError, escape_unprintable
from roadseg.system.files import file_sha256

if TYPE_CHECKING:
    from roadseg.provenance.model_metadata import TrainedModelMetadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model files and --json."""
    parser.add_argument(
        "models", nargs="+", type=Path, metavar="MODEL", help=".safetensors file written by train"
    )
    parser.add_argument("--json", action="store_true", help="print all metadata as JSON")


def run(args: argparse.Namespace) -> None:
    """Print the metadata of each model."""
    from roadseg.provenance.model_metadata import (
        ModelMetadata,
        TrainedModelMetadata,
        read_metadata,
    )

    for model in args.models:
        if args.json:
            print(read_metadata(model, ModelMetadata).to_json(indent=2))
            continue
        metadata = read_metadata(model, TrainedModelMetadata)
        print(model)
        for name, text in [*_rows(metadata), ("sha256", file_sha256(model))]:
            print(f"  {name:<10}  {escape_unprintable(text)}")


def _rows(metadata: "TrainedModelMetadata") -> list[tuple[str, str]]:
    from roadseg.provenance.model_metadata import describe_network, list_options

    provenance = metadata.provenance
    return [
        ("epoch", f"{metadata.epoch}, val mIoU {metadata.val_miou}"),
        ("network", describe_network(metadata)),
        *([("weights", list_options(metadata.weights))] if metadata.weights else []),
        ("recipe", list_options(provenance.recipe)),
        ("train", list_options(provenance.train)),
        ("train data", list_options(provenance.data.train)),
        ("val data", list_options(provenance.data.val)),
        ("machine", list_options(provenance.machine)),
        *[("", list_options(machine)) for machine in metadata.machines],
        ("versions", list_options(provenance.versions)),
        ("code", _code(provenance.code)),
    ]


def _code(blobs: dict[str, str]) -> str:
    """Describe the modules: the commit that contains them, and those that differ from ROOT's."""
    if not (ROOT / "src/roadseg").is_dir():  # an installed package
        return f"{len(blobs)} modules"
    here = {name: blob_id(ROOT / name) if (ROOT / name).is_file() else "" for name in blobs}
    changed = [name for name, blob in blobs.items() if here[name] != blob]
    tree = f"differs in {', '.join(changed)}" if changed else "is identical"
    try:
        if not (commit := _find_commit(blobs)):
            commit = "no commit of this repository contains exactly these"
            if _git("rev-parse", "--is-shallow-repository").strip() == "true":
                commit += " (a shallow clone: older commits are missing; git fetch --unshallow)"
    except InputError as error:
        commit = f"commit unknown: {error}"
    return f"{len(blobs)} modules; {commit}; the working tree {tree}"


def _find_commit(blobs: dict[str, str]) -> str | None:
    """Return short id and subject of the commit that introduced the last of these contents.

    Raises:
        InputError: git cannot answer, with its reason.
    """
    for start in ("HEAD", "--all"):  # --all: branches, and DVC's experiments
        for commit in _git("rev-list", start, "--", *blobs).split():
            lines = _git("ls-tree", "-r", commit, "--", *blobs).splitlines()
            tree = {name: entry.split()[2] for entry, name in (line.split("\t") for line in lines)}
            if tree == blobs:
                return _git("show", "--no-patch", "--format=commit %h (%s)", commit).strip()
    return None


def _git(*arguments: str) -> str:
    """Return the output of git in ROOT. Raises InputError with git's reason if it fails."""
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise InputError(f"git cannot be run ({error.strerror})") from None
    if result.returncode != 0:
        reason = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        raise InputError(f"git: {reason}")
    return result.stdout
