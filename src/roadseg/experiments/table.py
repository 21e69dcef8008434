"""Table and parallel-coordinates plot of DVC experiments."""

import dataclasses
import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadseg.experiments.dvc_experiments import Experiment
from roadseg.experiments.parallel_coordinates import Axis, is_missing, plot_parallel_coordinates
from roadseg.reporting.figures import save_figure
from roadseg.system.errors import InputError
from roadseg.system.tables import write_table

KEY_METRICS = ("train.best_val_miou", "evaluate.miou", "evaluate.cross_entropy", "train.train_ce")
"""Metrics that are printed and plotted; the CSV file has all of them."""
_LOWER_IS_BETTER = re.compile(r"(_ce|\.ece|cross_entropy|loss|error)$")
_STATES = ("finished", "unreadable", "running", "queued", "failed")


@dataclass(frozen=True)
class Table:
    """Experiments ordered by state; finished ones first, the best at the top."""

    by: str
    """Metric by which finished experiments are ordered."""
    experiments: list[Experiment]

    @property
    def params(self) -> list[str]:
        """Keys of the parameters that differ."""
        return _find_differing_keys([e.params for e in self.experiments if e.params])

    @property
    def finished(self) -> list[Experiment]:
        """The finished experiments, in order."""
        return [e for e in self.experiments if e.state == "finished"]

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics, sorted."""
        return sorted({name for e in self.experiments for name in e.metrics})

    @property
    def key_metrics(self) -> list[str]:
        """KEY_METRICS and `by`, as far as an experiment has them."""
        return [name for name in dict.fromkeys([*KEY_METRICS, self.by]) if name in self.metrics]


def make_table(experiments: list[Experiment], by: str) -> Table:
    """Order `experiments`, and add commit and code to their parameters where they differ.

    Raises:
        InputError: there are no experiments, or none of them has the metric `by`.
    """
    if not experiments:
        raise InputError(
            "no experiments are based on this commit; start one with dvc exp run, or list those of "
            "other commits with --all-commits"
        )
    table = Table(by, sorted(_add_code(experiments), key=lambda e: _sort_key(e, by)))
    if table.metrics and by not in table.metrics:
        close = [*difflib.get_close_matches(by, table.metrics, n=1), *table.metrics][0]
        raise InputError(f"--by {by}: no such metric; did you mean {close!r}?")
    return table


def save_table(path: Path, table: Table) -> None:
    """Write a CSV file with the parameters that differ and all metrics, one row per experiment."""
    columns: dict[str, list[Any]] = {"experiment": [e.name for e in table.experiments]}
    columns["state"] = [e.state for e in table.experiments]
    for key in table.params:
        columns[key] = [_format_param(e.params.get(key)) for e in table.experiments]
    for name in table.metrics:
        columns[name] = [e.metrics.get(name, float("nan")) for e in table.experiments]
    write_table(path, columns)


def format_table(table: Table) -> str:
    """Format the table for a terminal, with the key metrics only."""
    lines = [["experiment", "state", *_shorten([*table.params, *table.key_metrics])]]
    for e in table.experiments:
        params = [_format_param(e.params.get(key)) for key in table.params]
        metrics = [f"{e.metrics[n]:.4g}" if n in e.metrics else "" for n in table.key_metrics]
        lines.append([e.name, e.state, *params, *metrics])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def save_parallel_plot(path: Path, table: Table) -> None:
    """Write a parallel-coordinates plot of the finished experiments, at least two, as PNG.

    The axes are the parameters that differ and the key metrics. The last one is `table.by`, which
    also gives the colors.
    """
    finished = table.finished
    axes = [
        Axis(key, [e.params.get(key) for e in finished], allow_log=True)
        for key in _find_differing_keys([e.params for e in finished])
    ]
    for name in [*(name for name in table.key_metrics if name != table.by), table.by]:
        axes.append(Axis(name, [e.metrics.get(name) for e in finished], allow_log=False))
    names = [e.name for e in finished]
    higher_is_better = not _LOWER_IS_BETTER.search(table.by)
    save_figure(plot_parallel_coordinates(axes, names, axes[-1], higher_is_better), path)


def _add_code(experiments: list[Experiment]) -> list[Experiment]:
    """Add the commit to the parameters and, where finished experiments differ in it, the code."""
    codes = len({_digest(e.inputs) for e in experiments if e.state == "finished"}) > 1
    return [
        dataclasses.replace(
            e,
            params={"commit": e.commit, **({"code": _digest(e.inputs)} if codes else {})}
            | e.params,
        )
        for e in experiments
    ]


def _digest(inputs: dict[str, str | None]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:6]


def _find_differing_keys(params: list[dict[str, Any]]) -> list[str]:
    """Return the keys whose values differ, in the order of their first appearance."""
    keys = dict.fromkeys(key for row in params for key in row)
    values = {key: {json.dumps(row.get(key)) for row in params} for key in keys}
    return [key for key in keys if len(values[key]) > 1]


def _sort_key(experiment: Experiment, by: str) -> tuple[int, bool, float, str]:
    value = experiment.metrics.get(by)
    state = _STATES.index(experiment.state)
    if value is None or is_missing(value):
        return state, True, 0.0, experiment.name
    return state, False, value if _LOWER_IS_BETTER.search(by) else -value, experiment.name


def _format_param(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _shorten(names: list[str]) -> list[str]:
    """Keep the last component of dotted names if it is unique."""
    ends = [name.rpartition(".")[2] for name in names]
    return [e if ends.count(e) == 1 else name for e, name in zip(ends, names, strict=True)]
