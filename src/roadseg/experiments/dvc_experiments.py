"""Load DVC experiments from `dvc exp show --json`."""

import json
import subprocess
import sys
from collections.abc import Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from roadseg.config.pipeline import stage_outputs
from roadseg.config.schema import flatten
from roadseg.system.errors import InputError, missing_package


@dataclass(frozen=True)
class Experiment:
    """A DVC experiment, finished or not."""

    name: str
    commit: str
    """Branch, tag or abbreviated hash of its base commit."""
    state: str
    """finished, running, queued, failed, or unreadable (DVC cannot read its metrics)."""
    params: dict[str, Any]
    """Parameters by dotted key, such as `train.seed`."""
    inputs: dict[str, str | None]
    """Hash of each dependency that no stage writes (code, class maps), by path."""
    metrics: dict[str, float]
    """Metrics by file name and key, such as `evaluate.miou`; empty unless finished."""


def load_experiments(*, all_commits: bool = False) -> list[Experiment]:
    """Load the experiments of the repository in the working directory, sorted by name.

    Args:
        all_commits: include experiments based on commits other than HEAD.

    Raises:
        InputError: `dvc exp show` failed, or dvc.yaml cannot be read.
    """
    report = run_exp_show(*(["--all-commits"] if all_commits else []))
    return parse_experiments(report, stage_outputs(Path("dvc.yaml")))


def run_dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC of this environment. Raises InputError if it is not installed."""
    if not find_spec("dvc"):
        raise missing_package("dvc", extra="pipeline")
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def run_exp_show(*options: str) -> list[dict[str, Any]]:
    """Run `dvc exp show --json`. Raises InputError with DVC's message if it fails."""
    result = run_dvc("exp", "show", "--json", *options)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        reasons = [line for line in lines if line.startswith("ERROR: ")] or lines
        raise InputError(f"dvc exp show: {reasons[-1].removeprefix('ERROR: ')}")
    report: list[dict[str, Any]] = json.loads(result.stdout)
    return report


def parse_experiments(report: list[dict[str, Any]], outputs: Set[str]) -> list[Experiment]:
    """Extract the experiments from `report`, without commits and the workspace.

    Args:
        report: result of `run_exp_show`.
        outputs: paths that stages write; they are not inputs of an experiment.
    """
    experiments = []
    for commit in report:
        for entry in commit["experiments"] or []:
            revision = entry["revs"][0]
            data = revision["data"] or {"params": {}, "metrics": {}, "deps": {}}
            state = _state(entry["executor"], data)
            inputs = {path: d["hash"] for path, d in data["deps"].items() if path not in outputs}
            experiments.append(
                Experiment(
                    name=revision["name"] or revision["rev"][:7],
                    commit=commit["name"] or commit["rev"][:7],
                    state=state,
                    params=_merge_params(data["params"]),
                    inputs=inputs,
                    # For an unfinished experiment, DVC reports the metrics of its base commit.
                    metrics=_merge_metrics(data["metrics"]) if state == "finished" else {},
                )
            )
    return sorted(experiments, key=lambda experiment: experiment.name)


def _state(executor: dict[str, Any] | None, data: dict[str, Any]) -> str:
    state: str = (executor or {"state": "success"})["state"]
    if state != "success":
        return state
    files = [file for kind in ("params", "metrics") for file in data[kind].values()]
    readable = data["metrics"] and not any(file.get("error") for file in files)
    return "finished" if readable else "unreadable"


def _merge_params(files: dict[str, Any]) -> dict[str, Any]:
    contents = [flatten(file["data"]) for file in files.values() if "data" in file]
    return {key: value for content in contents for key, value in content.items()}


def _merge_metrics(files: dict[str, Any]) -> dict[str, float]:
    """Return the numbers, prefixed with the name of their file without directory and suffix."""
    metrics = {}
    for path, file in files.items():
        for key, value in flatten(file["data"]).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                metrics[f"{Path(path).stem}.{key}"] = value
    return metrics
