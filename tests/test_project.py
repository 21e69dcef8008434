"""dvc.yaml, the imports, params.yaml and the requirements are consistent."""

import ast
import itertools
import json
import re

import pytest
import yaml

from roadseg.provenance.dependencies import renew_dependencies
from roadseg.provenance.source_code import import_closure
from tests.dvc_repository import STAGES as ORDER
from tests.factories import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = PIPELINE["stages"]
SHARED = {"plan", "train", "evaluate"}
"""Stages that may run in several processes."""
CHANGES_NO_RESULT = {"resume", "data.max_gigabytes", "data.max_downloads_gigabytes"}


def outs(stage: str) -> set[str]:
    """Paths of the outs of a stage."""
    entries = [e for kind in ("outs", "metrics", "plots") for e in STAGES[stage].get(kind, [])]
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def options(stage: str) -> dict[str, str]:
    """Paths of the options of a stage's command."""
    return dict(re.findall(r"--(\S+) (\S+)", STAGES[stage]["cmd"].split(f"stages.{stage} ")[1]))


def test_each_stage_has_a_module():
    assert list(STAGES) == ORDER
    assert sorted(p.stem for p in (ROOT / "stages").glob("*.py")) == sorted(
        [*ORDER, "__init__", "launch", "test"]  # `make final` runs test
    )


def test_dependencies_on_code_are_current():
    """`make deps` writes them. DVC would not rerun a stage for a missing module."""
    text = (ROOT / "dvc.yaml").read_text()
    assert renew_dependencies(text) == text


def test_stale_dependency_is_replaced_and_missing_one_added():
    text = (ROOT / "dvc.yaml").read_text()
    stale = text.replace("      - stages/split.py\n", "      - src/roadseg/old.py\n")
    assert stale != text
    assert renew_dependencies(stale) == text


@pytest.mark.parametrize("stage", ORDER)
def test_dependencies_cover_the_import_closure(stage: str):
    listed = [ROOT / dep for dep in STAGES[stage]["deps"]]
    for name in import_closure(ROOT / "stages" / f"{stage}.py"):
        path = ROOT / name
        covered = any(path == dep or path.is_relative_to(dep) for dep in listed)
        assert covered or len(ast.parse(path.read_text()).body) == 1, name


def test_stages_have_the_same_order_of_keys():
    order = ["desc", "cmd", "params", "outs", "metrics", "plots", "deps"]
    for stage in STAGES.values():
        assert list(stage) == [key for key in order if key in stage]


def test_plotting_code_is_no_dependency_of_the_other_stages():
    plotting = ROOT / "src/roadseg/reporting/charts.py"
    for stage in ("fetch", "remap", "split", "train", "evaluate"):
        listed = [ROOT / dep for dep in STAGES[stage]["deps"]]
        assert not any(plotting.is_relative_to(dep) for dep in listed)


@pytest.mark.parametrize("stage", ORDER)
def test_paths_in_a_command_are_its_deps_and_outs(stage: str):
    paths = set(options(stage).values()) - {
        "params.yaml",
        "dvc.yaml",
        "runs",
        ".ckpt",
        ".downloads",
    }
    data = {dep for dep in STAGES[stage]["deps"] if not dep.startswith(("src/", "stages/"))}
    if "metrics" in data:  # the directory of all metrics
        data |= {path for path in paths if path.startswith("metrics/")} - {"metrics"}
        data -= {"metrics"}
    assert paths == data - {"data/params.checked"} | outs(stage)
    launched = "stages.launch --processes ${train.processes} " if stage in SHARED else ""
    assert STAGES[stage]["cmd"].startswith(f"exec stages/python -m {launched}stages.{stage} ")
    assert STAGES[stage]["desc"]


@pytest.mark.parametrize("stage", ORDER)
def test_every_data_dependency_is_written_by_an_earlier_stage(stage: str):
    written = {path for earlier in ORDER[: ORDER.index(stage)] for path in outs(earlier)}
    data = {
        d
        for d in STAGES[stage]["deps"]
        if not d.startswith(("src/", "stages/", "classes", "splits"))
    }
    written |= {path.split("/")[0] for path in written if path.startswith("metrics/")}
    assert data <= written


def test_no_stage_depends_on_the_test_set():
    commands = " ".join(stage["cmd"] for stage in STAGES.values())
    everything = commands + str([outs(stage) for stage in ORDER])
    assert "prepared_test" not in everything
    assert "metrics/test.json" not in everything
    final = re.search(r"(?m)^final:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text())
    assert final
    paths = dict(re.findall(r"--(\S+) (\S+)", final[1]))
    assert PIPELINE["metrics"] == [paths["metrics"]]
    assert paths["tables"] == "plots/test"
    assert paths["runs"] in STAGES["card"]["cmd"]


@pytest.mark.parametrize("stage", ORDER[1:])
def test_parameters_that_a_stage_reads_are_tracked(stage: str):
    """dvc.yaml lists `train.device`, or `train`, for `params.train.device` in a stage's source."""
    source = (ROOT / "stages" / f"{stage}.py").read_text()
    tracked = {
        name.split(".")[0] if "$" in name else name for name in STAGES[stage].get("params", [])
    }
    reads = re.findall(r"(?:params|load_params\(args\.params\))\.([a-z_]+(?:\.\w+)?)", source)
    derived = {
        "recipe": {"recipes", "train"},
        "model.weights_path": {"model.weights"},
        "epochs_to_render": {"render"},
        "train.epochs": set(),  # of data/plan.json, a dependency
    }
    for read in reads:
        for name in derived.get(read, {read}):
            section = name.split(".")[0]
            if section in PARAMS and not {name, section} & CHANGES_NO_RESULT:
                assert {name, section} & tracked, (stage, name)


def test_every_tracked_parameter_exists():
    for stage in ORDER[1:]:
        for name in STAGES[stage].get("params", []):
            section, *rest = name.replace("${train.recipe}", "modern").split(".")
            value = PARAMS[section]
            for key in rest:
                value = value[key]


def test_check_reads_all_parameters_and_precedes_fetch():
    assert STAGES["check"]["params"] == [{"params.yaml": None}]
    assert "data/params.checked" in STAGES["fetch"]["deps"]


def test_every_parameter_has_a_comment():
    lines = (ROOT / "params.yaml").read_text().splitlines()
    explained = set()
    for before, line in itertools.pairwise(lines):
        found = re.match(r"\s+([a-z_0-9]+):", line)
        if found and ("#" in line or before.strip().startswith("#")):
            explained.add(found[1])
    keys = {key for section in PARAMS.values() for key in section} - {"report", "modern"}
    keys |= set(PARAMS["recipes"]["report"])
    assert keys - explained == set()


def test_metrics_and_plots_are_in_git_and_models_in_the_cache():
    for stage in ORDER:
        for kind in ("metrics", "plots"):
            for entry in STAGES[stage].get(kind, []):
                assert next(iter(entry.values()))["cache"] is False
    assert PIPELINE["artifacts"]["unet"]["path"] in outs("train")


def plotted_columns() -> list[tuple[str, str, list[str]]]:
    """Template, file and columns of each graph."""
    combined, *test_set, figures = [value for p in PIPELINE["plots"] for value in p.values()]
    assert figures is None  # a directory
    ((path, columns),) = combined["y"].items()
    graphs = [(combined["template"], path, [combined["x"], *columns])]
    for graph in test_set:
        ((path, x),), ((y_path, y),) = graph["x"].items(), graph["y"].items()
        assert path == y_path
        graphs.append((graph["template"], path, [x, y]))
    for stage in ORDER:
        for entry in STAGES[stage].get("plots", []):
            ((path, plot),) = entry.items()
            if path.endswith(".csv"):
                graphs.append((plot["template"], path, [plot["x"], plot["y"]]))
    return graphs


def test_templates_and_columns_of_plots_exist():
    graphs = plotted_columns()
    assert len(graphs) == 10
    for template, path, columns in graphs:
        assert (ROOT / f".dvc/plots/{template}.json").is_file()
        header = (ROOT / path).read_text().splitlines()[0].split(",")
        assert set(columns) <= set(header), (path, header)


def test_requirements_are_pinned_and_the_constraints_have_no_cuda():
    required = "".join(path.read_text() for path in sorted(ROOT.glob("requirements*.txt")))
    for line in required.splitlines():
        assert re.fullmatch(r"#.*|-r requirements[a-z-]*.txt|[a-zA-Z0-9.-]+==[0-9.]+", line), line
    assert "torch==2.14.1\n" in required
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+", line) for line in constraints)
    assert not [line for line in constraints if re.match(r"nvidia|cuda|triton|torch=", line)]
    names = {re.split("==", line)[0].lower() for line in constraints}
    direct = {line.split("==")[0] for line in required.splitlines() if "==" in line}
    assert direct - {"torch"} <= names


def test_notebook_is_committed_without_outputs():
    notebook = json.loads((ROOT / "notebooks/road_scenes.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [cell["outputs"] for cell in cells if cell["outputs"] or cell["execution_count"]] == []
