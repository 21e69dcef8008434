"""The paths that the pipeline writes, read from dvc.yaml."""

from pathlib import Path

from src.typed_yaml import read_yaml


def written_by_stages(pipeline: Path) -> set[str]:
    """Paths of all outs, metrics and plots in the dvc.yaml `pipeline`."""
    entries = [
        entry
        for stage in read_yaml(pipeline)["stages"].values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get(kind, [])
    ]
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}
