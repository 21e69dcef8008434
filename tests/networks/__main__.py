"""Print a table of what each tested network guarantees: `python -m tests.networks` (an hour).

`python -m tests.networks export resume` measures only these columns.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the images are tiny

from roadseg.models.export import rounding_error
from roadseg.runtime.accelerator import select_accelerator
from roadseg.training.logger import TrainingLogger
from tests.factories import make_prepared
from tests.networks import cases
from tests.networks.cases import CASES, SIZES, Case


def export(case: Case, folder: Path) -> str:
    network = cases.normalize(case.build())
    pt2, onnx = (cases.export_difference(network, folder / f"a.{kind}") for kind in ("pt2", "onnx"))
    return f".pt2 {pt2:.1e}, .onnx {onnx:.1e}, float32 {rounding_error(network, SIZES):.1e}"


def resume(case: Case, folder: Path) -> str:
    """Two epochs of the recipe `modern`."""
    prepared, words = make_prepared(folder), []
    for precision in sorted({"fp32", select_accelerator("cpu", "auto").precision}):
        params = cases.load_case(case, folder, precision, epochs=2, recipe="modern")
        with contextlib.redirect_stdout(io.StringIO()) as output:
            uninterrupted, resumed = cases.train_and_resume(prepared, params, folder / precision)
        assert "(epoch 2 of 2)" in output.getvalue()
        words.append(f"{precision} {'same' if resumed == uninterrupted else 'OTHER'} bytes")
    return ", ".join(words)


def processes(case: Case, folder: Path) -> str:
    params = cases.load_case(case, folder, "fp32")
    return f"{cases.difference_between_processes(make_prepared(folder), params, folder):.1e}"


def cuda(case: Case, _: Path) -> str:
    return ", ".join(sorted(cases.nondeterministic_operators(case.build))) or "none"


COLUMNS: dict[str, Callable[[Case, Path], str]] = {
    "export": export,
    "resume": resume,
    "processes": processes,
    "cuda": cuda,
}


def main(argv: list[str]) -> None:
    """Measure the columns `argv`, or all of them."""
    TrainingLogger.log_histograms = lambda *_: None
    names = argv or list(COLUMNS)
    print(f"| network | encoder | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
    for case in CASES:
        cells = []
        for name in names:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
                try:
                    cells.append(COLUMNS[name](case, Path(folder)))
                except Exception as error:  # a table with one failure is more useful than none
                    cells.append(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(f"| {case.architecture} | {case.encoder} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
