"""Hostile tables of confusion matrices, logs of the test set, and reports of exported files."""

import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd

from roadseg.commands.main import main
from roadseg.config.json_files import read_model
from roadseg.evaluation.image_confusions import read_image_confusions
from roadseg.evaluation.metric_files import ExportReport
from roadseg.evaluation.run_log import LoggedRun, append_run, read_runs
from roadseg.reporting.export_section import export_section, save_export_chart
from tests.fuzz.case import Case, CaseBuilder, Step
from tests.fuzz.mutation import ODD_WORDS, mutate_bytes, mutate_text, mutate_value, truncate_bytes
from tests.fuzz.workspace import valid_workspace

LOG, EXPORT = "test_runs.csv", "export.json"
LAST = LoggedRun(
    commit="", clean="no", model_sha256="0" * 64, miou=0, miou_low=0, miou_high=0, images=1
)
TABLE = "image_confusions.csv"
ODD_FIELDS = (*ODD_WORDS, "0", "2147483647", "2147483648", "1e3", "\u0663", " 1", "void", '"', "\r")


def make_case(work: Path, data: bytes) -> Case:
    """Build a case that reads the table; an accepted table has the pixels of its rows."""
    (work / TABLE).write_bytes(data)

    def check() -> None:
        read = read_image_confusions(Path(TABLE))
        rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
        assert (read.confusions >= 0).all()
        assert read.confusions.sum() == sum(int(row["pixels"]) for row in rows)
        assert (read.confusions > 0).sum() == len(rows)
        assert read.ids == list(dict.fromkeys(row["image"] for row in rows))

    step = Step(lambda argv: read_image_confusions(Path(argv[0])), [TABLE], ())
    return Case([step], (TABLE,), check)


def original() -> str:
    return (valid_workspace() / "out" / TABLE).read_text()


def mutate_table(rng: random.Random, work: Path) -> Case:
    if rng.random() < 0.5:
        return make_case(work, mutate_text(rng, original()))
    return make_case(work, rng.choice((mutate_bytes, truncate_bytes))(rng, original().encode()))


def change_fields(rng: random.Random, work: Path) -> Case:
    """Replace, remove, add or repeat fields and rows."""
    rows = [line.split(",") for line in original().splitlines()]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        kind = rng.randrange(4)
        if kind == 0 and row:
            row[rng.randrange(len(row))] = rng.choice(ODD_FIELDS)
        elif kind == 1 and row:
            del row[rng.randrange(len(row))]
        elif kind == 2:
            row.append(rng.choice(ODD_FIELDS))
        else:
            rows.insert(rng.randrange(len(rows) + 1), list(row))
    return make_case(work, "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass"))


def compare_tables(rng: random.Random, work: Path) -> Case:
    """Compare a valid table with a changed one; accepted differences are consistent."""
    case = change_fields(rng, work)
    if rng.random() < 0.5:  # other numbers of pixels, images and classes, which are valid
        lines = original().splitlines()
        rows = [f"{row.rpartition(',')[0]},{rng.randint(1, 9)}" for row in lines[1:]]
        chosen = rng.choice((rows, rng.sample(rows, rng.randint(1, len(rows)))))
        (work / TABLE).write_text("\n".join([lines[0], *chosen]))
    (work / "valid.csv").write_text(original())

    def check() -> None:
        table = pd.read_csv("out/comparison.csv")
        difference = table["b"] - table["a"]
        assert np.allclose(table["difference"], difference, atol=1e-5, equal_nan=True)
        inside = (table["low"] <= table["difference"]) & (table["difference"] <= table["high"])
        assert (inside | table["low"].isna()).all()

    arguments = ["compare", "valid.csv", TABLE, "--out", "out"]
    return Case([Step(main, arguments, ("out",))], (*case.names, "valid.csv"), check)


def use_many_names(rng: random.Random, work: Path) -> Case:
    """Write a table with as many images and classes as rows, which would need much memory."""
    images, classes = rng.choice((1, 10, 20_000)), rng.choice((1, 10, 253, 254, 20_000))
    rows = [f"{i % images},{i % classes},{i % 2},1" for i in range(max(images, classes))]
    return make_case(work, "\n".join(["image,actual,predicted,pixels", *rows]).encode())


def mutate_log(rng: random.Random, work: Path) -> Case:
    """Change a log of evaluations of the test set; an accepted log is written back unchanged."""
    row = f"{'a' * 40},yes,{'1' * 64},0.5,0.4,0.6,233"
    text = "\n".join([",".join(LoggedRun.model_fields), *[row] * 3, ""])
    mutate = rng.choice((mutate_bytes, truncate_bytes))
    data = mutate_text(rng, text) if rng.random() < 0.5 else mutate(rng, text.encode())
    (work / LOG).write_bytes(data)

    def check() -> None:
        runs = read_runs(Path(LOG))
        assert append_run(Path(LOG), LAST) == len(runs) + 1
        assert read_runs(Path(LOG)) == [*runs, LAST]

    return Case([Step(lambda argv: read_runs(Path(argv[0])), [LOG], ())], (LOG,), check)


def mutate_export_report(rng: random.Random, work: Path) -> Case:
    """Change the report of exported files; an accepted report can be shown in the model card."""
    amounts = {"megabytes": 17.5, "latency_ms": 100.0, "latency_p95_ms": 123.4}
    entry = {"name": "int8", "miou": 0.7, "agreement": 0.99, **amounts}
    machine = {"processor": "x", "threads": 2, "images": 6, "image_size": "96x320"}
    report = {"model_sha256": "1" * 64, **machine, "formats": [entry, {**entry, "name": "fp16"}]}
    if rng.random() < 0.5:
        data = json.dumps(mutate_value(rng, report)).encode()
    else:
        data = mutate_text(rng, json.dumps(report))
    (work / EXPORT).write_bytes(data)

    def check() -> None:
        read = read_model(ExportReport, Path(EXPORT))
        text = export_section(read, read.model_sha256, "figures")
        assert text.count("\n| ") == 1 + len(read.formats)
        save_export_chart(work / "chart.png", read)

    read = Step(lambda argv: read_model(ExportReport, Path(argv[0])), [EXPORT], ())
    return Case([read], (EXPORT,), check)


KINDS: dict[str, CaseBuilder] = {
    "image confusions mutated": mutate_table,
    "image confusions fields": change_fields,
    "image confusions names": use_many_names,
    "image confusions compared": compare_tables,
    "log of the test set": mutate_log,
    "report of exported files": mutate_export_report,
}
