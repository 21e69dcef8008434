"""dvc.lock: the stages that have run, with the hashes of their inputs and outputs."""

from pathlib import Path
from typing import Any

from roadseg.config.schema import flatten
from roadseg.system.errors import InputError

LOCK = "dvc.lock"


def read_lock(path: Path) -> dict[str, Any]:
    """Read a dvc.lock; raise InputError if DVC would refuse it."""
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.strictyaml import load

    try:
        content: dict[str, Any] = load(str(path), COMPILED_LOCKFILE_SCHEMA)[0]
    except (DvcException, RecursionError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{path}: not a lock file of DVC: {reason}; restore it with Git") from None
    return content


def stage_inputs(stage: dict[str, Any], outputs: list[Path]) -> dict[str, Any]:
    """Map the command, each parameter and each file that no stage writes to its value or hash."""
    inputs = {"cmd": stage.get("cmd")}
    for values in stage.get("params", {}).values():
        inputs |= flatten(values)
    for dep in stage.get("deps", []):
        path = Path(dep["path"])
        if not any(path.is_relative_to(o) or o.is_relative_to(path) for o in outputs):
            inputs[dep["path"]] = dep.get("md5")
    return inputs
