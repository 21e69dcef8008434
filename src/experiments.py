"""DVC's experiments, as `dvc exp show --json` tells them."""

import json
import subprocess
import sys
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from src.files import InputError


@dataclass(frozen=True)
class Experiment:
    """An experiment and how far it is."""

    name: str
    commit: str
    """What it was started from: a branch, a tag or seven digits."""
    state: str
    """finished, running, queued, failed, or unreadable: without figures that DVC can read."""
    params: dict[str, Any]
    """By dotted key."""
    inputs: dict[str, str | None]
    """Hash of each dependency that no stage writes: code, class maps."""
    figures: dict[str, float]
    """By file and name: `evaluate.miou` of metrics/evaluate.json. None but of a finished one."""


def shown_by_dvc(*options: str) -> list[dict[str, Any]]:
    """What `dvc exp show --json` prints. Raises InputError with dvc's own reason if it fails."""
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json", *options]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        reasons = [line for line in lines if line.startswith("ERROR: ")] or lines
        raise InputError(f"dvc exp show: {reasons[-1].removeprefix('ERROR: ')}")
    return json.loads(result.stdout)


def all_experiments(shown: list[dict[str, Any]], written: Set[str]) -> list[Experiment]:
    """The experiments in `shown`, by name; commits and the workspace are none.

    Args:
        written: by stages, so no inputs.
    """
    found = []
    for commit in shown:
        for entry in commit["experiments"] or []:
            newest = entry["revs"][0]
            data = newest["data"] or {"params": {}, "metrics": {}, "deps": {}}
            state = _state(entry["executor"], data)
            found.append(
                Experiment(
                    name=newest["name"] or newest["rev"][:7],
                    commit=commit["name"] or commit["rev"][:7],
                    state=state,
                    params=_merged(data["params"]),
                    inputs={
                        path: dep["hash"]
                        for path, dep in data["deps"].items()
                        if path not in written
                    },
                    # DVC tells the figures of what one that is not finished was started from
                    figures=_figures(data["metrics"]) if state == "finished" else {},
                )
            )
    return sorted(found, key=lambda experiment: experiment.name)


def finished_experiments(shown: list[dict[str, Any]], written: Set[str]) -> list[Experiment]:
    """Those of `all_experiments` that are finished."""
    return [entry for entry in all_experiments(shown, written) if entry.state == "finished"]


def _state(executor: dict[str, Any] | None, data: dict[str, Any]) -> str:
    state = (executor or {"state": "success"})["state"]
    if state != "success":
        return state
    files = [file for kind in ("params", "metrics") for file in data[kind].values()]
    whole = data["metrics"] and not any(file.get("error") for file in files)
    return "finished" if whole else "unreadable"


def _merged(files: dict[str, Any]) -> dict[str, Any]:
    contents = [_flat(file["data"]) for file in files.values() if "data" in file]
    return {key: value for content in contents for key, value in content.items()}


def _figures(files: dict[str, Any]) -> dict[str, float]:
    """Numbers only, each under the name of its file without folder and ending."""
    found = {}
    for path, file in files.items():
        stem = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        for key, value in _flat(file["data"]).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[f"{stem}.{key}"] = value
    return found


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf
        for name, entry in value.items()
        for key, leaf in _flat(entry, f"{prefix}.{name}" if prefix else name).items()
    }
