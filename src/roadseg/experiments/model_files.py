"""Model files by path, or by the name of the DVC experiment that wrote them."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from roadseg.experiments.dvc_experiments import run_dvc
from roadseg.inference.options import DEFAULT_MODEL
from roadseg.system.errors import InputError


@contextlib.contextmanager
def open_models(names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Yield the model file of each of `names`: a file, or an experiment of this repository.

    A name with the suffix of model files is a path, even if there is no such file. The models of
    experiments are copied from DVC's cache to a temporary directory.

    Raises:
        InputError: neither a file nor an experiment that has a model.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield {
            name: Path(name) if _is_path(name) else _get_model(name, Path(folder) / str(i))
            for i, name in enumerate(names)
        }


def _is_path(name: str) -> bool:
    return Path(name).exists() or Path(name).suffix == DEFAULT_MODEL.suffix


def _get_model(experiment: str, out: Path) -> Path:
    result = run_dvc("get", ".", str(DEFAULT_MODEL), f"--out={out}", f"--rev={experiment}")
    if result.returncode != 0:
        reasons = [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
        raise InputError(
            f"{experiment}: neither a model file nor an experiment with a model "
            f"({(reasons or ['dvc get failed'])[-1].removeprefix('ERROR: ')}); "
            "`roadseg experiments` lists the experiments"
        )
    return out
