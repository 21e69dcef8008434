"""The experiments of a sweep as one table and one picture."""

import difflib
import hashlib
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.experiments import Experiment, all_experiments, shown_by_dvc
from src.files import InputError
from src.pipeline import written_by_stages
from src.report.figures import save_figure
from src.report.parallel import Axis, is_missing, parallel_plot
from src.report.tables import write_table
from src.sweep.tasks import Task

KEY_FIGURES = ("train.best_val_miou", "evaluate.miou", "evaluate.cross_entropy", "train.train_ce")
"""Printed and drawn; all others stand in the CSV."""
_LOWER_IS_BETTER = re.compile(r"(_ce|\.ece|cross_entropy|loss|error)$")
_STATES = ("finished", "unreadable", "running", "queued", "failed", "abandoned")
_REF = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")


@dataclass(frozen=True)
class Row:
    """An experiment."""

    name: str
    state: str
    params: dict[str, Any]
    figures: dict[str, float]


@dataclass(frozen=True)
class Table:
    """Experiments, the best finished one first."""

    by: str
    params: list[str]
    """Those that differ."""
    rows: list[Row]
    remarks: list[str]
    """What is not in it."""

    @property
    def finished(self) -> list[Row]:
        return [row for row in self.rows if row.state == "finished"]

    @property
    def key_figures(self) -> list[str]:
        """KEY_FIGURES and `by`, as far as there are such."""
        names = {name for row in self.rows for name in row.figures}
        return [name for name in dict.fromkeys([*KEY_FIGURES, self.by]) if name in names]


def gathered(by: str, tasks: list[Task], all_commits: bool) -> Table:
    """All experiments of this commit, or of all commits, the best by the figure `by` first.

    Args:
        tasks: of the queue; those without a result that `dvc exp show` does not tell are added.

    Raises:
        InputError: there is none, or none that is finished has this figure.
    """
    shown = shown_by_dvc(*(["--all-commits"] if all_commits else []))
    commits = {commit["rev"] for commit in shown}
    abandoned = {task.name for task in tasks if task.state == "abandoned"}
    experiments = all_experiments(shown, written_by_stages(Path("dvc.yaml")))
    rows = _rows(experiments, abandoned)
    told = {row.name for row in rows}
    lost = [task for task in tasks if task.name in abandoned - told]
    here = [task for task in lost if task.entry.baseline_rev in commits]
    rows += [Row(task.name, "abandoned", {}, {}) for task in here]
    elsewhere = [task for task in tasks if task.entry.baseline_rev not in commits]
    unfinished = sum(task.state != "finished" for task in elsewhere)
    return table(by, rows, _remarks(_refs_elsewhere(commits) + unfinished))


def table(by: str, rows: Sequence[Row], remarks: list[str]) -> Table:
    """The table of `rows`. Raises InputError as `gathered` does."""
    names = sorted({name for row in rows for name in row.figures})
    if not rows:
        raise InputError("; ".join(["no experiments here: dvc exp run --queue", *remarks]))
    if names and by not in names:
        close = [*difflib.get_close_matches(by, names, n=1), *names][0]
        raise InputError(f"--by {by}: no such figure; did you mean {close!r}?")
    ordered = sorted(rows, key=lambda row: (_STATES.index(row.state), *_rank(row, by), row.name))
    return Table(by, _differing([row.params for row in rows if row.params]), ordered, remarks)


def save_table(path: Path, table: Table) -> None:
    """Write a CSV: a row for each experiment, all its figures, the parameters that differ."""
    names = sorted({name for row in table.rows for name in row.figures})
    columns: dict[str, list] = {"experiment": [row.name for row in table.rows]}
    columns["state"] = [row.state for row in table.rows]
    for key in table.params:
        columns[key] = [_text(row.params.get(key)) for row in table.rows]
    for name in names:
        columns[name] = [row.figures.get(name, float("nan")) for row in table.rows]
    write_table(path, columns)


def text_table(table: Table) -> str:
    """The same for a terminal, of the figures only the key ones."""
    keys = _short([*table.params, *table.key_figures])
    lines = [["experiment", "state", *keys]]
    for row in table.rows:
        params = [_text(row.params.get(key)) for key in table.params]
        figures = [row.figures.get(name) for name in table.key_figures]
        shown = ["" if value is None else f"{value:.4g}" for value in figures]
        lines.append([row.name, row.state, *params, *shown])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def save_parallel_plot(path: Path, table: Table) -> None:
    """Write the picture of the finished ones as PNG; none of fewer than two (InputError)."""
    rows = table.finished
    if len(rows) < 2:
        path.unlink(missing_ok=True)  # an older one is not of this table
        raise InputError(
            f"of {len(table.rows)} experiments {len(rows)} finished; a picture needs two"
        )
    differing = _differing([row.params for row in rows])
    axes = [Axis(key, [row.params.get(key) for row in rows], True) for key in differing]
    figures = [name for name in table.key_figures if name != table.by]
    for name in [*figures, table.by]:  # the last one is what colours them
        axes.append(Axis(name, [row.figures.get(name) for row in rows], False))
    names = [row.name for row in rows]
    figure = parallel_plot(axes, names, axes[-1], not _LOWER_IS_BETTER.search(table.by))
    save_figure(figure, path)


def _rows(experiments: list[Experiment], abandoned: set[str]) -> list[Row]:
    """Where commits or code differ, these are parameters, too."""
    finished = [e for e in experiments if e.state == "finished"]
    codes = len({_digest(e.inputs) for e in finished}) > 1
    rows = []
    for e in experiments:
        also = {"commit": e.commit, **({"code": _digest(e.inputs)} if codes else {})}
        lost = e.name in abandoned and e.state != "finished"
        rows.append(Row(e.name, "abandoned" if lost else e.state, also | e.params, e.figures))
    return rows


def _digest(inputs: dict[str, str | None]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:6]


def _differing(params: list[dict[str, Any]]) -> list[str]:
    """Keys that not all have with the same value, in their order."""
    keys = dict.fromkeys(key for row in params for key in row)
    values = {key: {json.dumps(row.get(key)) for row in params} for key in keys}
    return [key for key in keys if len(values[key]) > 1]


def _rank(row: Row, by: str) -> tuple[bool, float]:
    value = row.figures.get(by)
    if is_missing(value):
        return True, 0.0
    return False, value if _LOWER_IS_BETTER.search(by) else -value


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _short(names: list[str]) -> list[str]:
    """Their last parts, where these tell them apart."""
    ends = [name.rpartition(".")[2] for name in names]
    return [e if ends.count(e) == 1 else name for e, name in zip(ends, names, strict=True)]


def _refs_elsewhere(commits: set[str]) -> int:
    """Number of finished experiments that were started from other commits."""
    command = ["git", "for-each-ref", "--format=%(refname)", "refs/exps"]
    refs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [match for ref in refs if (match := _REF.fullmatch(ref))]
    return sum(match[1] + match[2] not in commits for match in found)


def _remarks(left_out: int) -> list[str]:
    return [f"{left_out} of other commits are left out: --all-commits"] if left_out else []
