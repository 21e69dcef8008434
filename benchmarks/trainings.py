"""Trainings of a benchmark: their parameters, files and arguments, and which are finished."""

import argparse
import hashlib
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides

from roadseg.config.params import Params
from roadseg.config.schema import flatten, parse_yaml, read_yaml, validate
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.provenance.source_code import ROOT, source_blobs
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, file_sha256, read_json

_SECTIONS = ("model", "train", "recipes", "evaluate")
"""Sections of params.yaml that determine the result."""


def override_params(path: Path, options: Sequence[str]) -> str:
    """Return the text of the params.yaml `path` as `dvc exp run -S OPTION ..` would change it.

    Raises:
        InputError: an option is not KEY=VALUE, or the key or value is invalid.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, Path(folder) / "params.yaml"))
        try:
            apply_overrides(copy, list(options))
        except InvalidArgumentError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise InputError(f"{path}: {reason}") from None
        text = copy.read_text(encoding="utf-8")
    try:
        validate(Params, parse_yaml(text))
    except InputError as error:
        raise InputError(f"{path} with {', '.join(options) or 'no options'}: {error}") from None
    return text


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training to run, and the files it reads and writes."""

    name: str
    folder: Path
    """Directory of all outputs."""
    params: str
    """Text of params.yaml."""
    prepared: Path
    split: Path
    weights: Path
    """Output folder of the stage weights."""

    @cached_property
    def parsed(self) -> Params:
        """The parameters."""
        return validate(Params, parse_yaml(self.params))

    @property
    def record(self) -> Path:
        """The file that exists if the training is finished."""
        return self.folder / "finished.json"

    def identity(self) -> dict[str, Any]:
        """Collect everything that determines the result, as JSON."""
        split, prepared = read_split(self.split), PreparedDataset(self.prepared)
        params = relevant_values(self.params)
        start = params.pop("train.start")
        return {
            "params": params,
            "data": [prepared.digest(split.train), prepared.digest(split.val)],
            "start": start and file_sha256(Path(start)),
            "code": _code_digest(),
        }

    def is_finished(self, accept_other_code: bool) -> bool:
        """Return True if a training with the same parameters, data and code is finished.

        Args:
            accept_other_code: also accept a training by other code, whose parameters may lack keys.

        Raises:
            InputError: a finished training differs; its result is not overwritten.
        """
        if not self.record.exists():
            return False
        found, expected = read_json(self.record), self.identity()
        ours, theirs = expected.pop("params"), found["params"]
        keys = ours.keys() & theirs.keys() if accept_other_code else ours.keys() | theirs.keys()
        differences = [
            f"{key} is {theirs.get(key)!r}, not {ours.get(key)!r}"
            for key in sorted(keys)
            if ours.get(key) != theirs.get(key)
        ]
        differences += [f"other {key}" for key, value in expected.items() if found[key] != value]
        if accept_other_code and "other code" in differences:
            differences.remove("other code")
        if differences:
            raise InputError(
                f"{self.folder}: was trained differently ({'; '.join(differences)}); remove it, "
                "use another --out, or accept other code with --accept-other-code"
            )
        return True

    def write_params(self) -> bool:
        """Write params.yaml to the directory; return True if values that are relevant changed."""
        path = self.folder / "params.yaml"
        old = path.read_text(encoding="utf-8") if path.exists() else None
        with atomic_file(path) as temporary:
            temporary.write_text(self.params, encoding="utf-8")
        return old is None or relevant_values(old) != relevant_values(self.params)

    def seconds(self) -> float:
        """Return the duration of the stage train until now, without interruptions."""
        path = self.folder / "seconds.txt"
        return float(path.read_text()) if path.exists() else 0.0


def relevant_values(params: str) -> dict[str, Any]:
    """Return the values of a params.yaml that determine the result of a training, by dotted key.

    Of the recipes, only the one that is used is relevant.
    """
    values = {name: value for name, value in parse_yaml(params).items() if name in _SECTIONS}
    name = values["train"]["recipe"]
    values["recipes"] = {name: values["recipes"][name]}
    return flatten(values)


@cache
def _code_digest() -> str:
    """Return a SHA-256 over all modules that the stage train imports."""
    blobs = json.dumps(source_blobs(ROOT / "stages/train.py"), sort_keys=True)
    return hashlib.sha256(blobs.encode()).hexdigest()


def add_options(parser: argparse.ArgumentParser, out: Path) -> None:
    """Add the options that all benchmarks of trainings share."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="in all rows"
    )
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", metavar="FILE")
    for name in ("prepared", "split.json", "weights"):
        option = f"--{name.removesuffix('.json')}"
        parser.add_argument(option, type=Path, default=ROOT / "data" / name, metavar="PATH")
    parser.add_argument("--out", type=Path, default=out, metavar="FOLDER")
    parser.add_argument("--table", action="store_true", help="only print what is finished")
    parser.add_argument(
        "--accept-other-code", action="store_true", help="keep trainings by other code"
    )


def make_training(
    args: argparse.Namespace, name: str, options: Sequence[str], **paths: Path
) -> Training:
    """Return a training in the directory `name` of --out.

    Args:
        args: values of `add_options`.
        options: KEY=VALUE, as for `dvc exp run -S`.
        paths: prepared or split instead of those of `args`.
    """
    files = {key: getattr(args, key) for key in ("prepared", "split", "weights")} | paths
    return Training(
        name=name,
        folder=args.out.resolve() / name,
        params=override_params(args.params, [*args.set, *options]),
        **{key: path.resolve() for key, path in files.items()},
    )


def format_value(value: object) -> str:
    """Format a value of params.yaml as VALUE of an option, which has the grammar of Hydra."""
    if isinstance(value, list):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z][\w./-]*", value)
        return value if plain else "'" + value.replace("'", r"\'") + "'"
    return json.dumps(value)


def stage_arguments(stage: str, training: Training) -> list[str]:
    """Return the arguments of a stage as in dvc.yaml, with the files of `training`."""
    words = shlex.split(read_yaml(ROOT / "dvc.yaml")["stages"][stage]["cmd"])
    inputs = {
        "data/prepared": training.prepared,
        "data/split.json": training.split,
        "data/weights": training.weights,
    }
    return [
        word if word.startswith("--") else str(inputs.get(word, training.folder / Path(word).name))
        for word in words[words.index(f"stages.{stage}") + 1 :]
    ]
