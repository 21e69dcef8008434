"""The fingerprint of a training's provenance, and how two of them differ."""

import hashlib
import json
from typing import Any

from roadseg.provenance.model_metadata import TrainingProvenance


def fingerprint(provenance: TrainingProvenance) -> str:
    """Return 16 hexadecimal digits that differ if anything in `provenance` differs."""
    text = json.dumps(provenance.model_dump(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def list_differences(before: TrainingProvenance, now: TrainingProvenance) -> list[str]:
    """List the differences as `recipe.learning_rate 0.001 -> 0.002`; first that of the code."""
    names = before.code.keys() | now.code.keys()
    modules = sorted(name for name in names if before.code.get(name) != now.code.get(name))
    code = [f"the code of {len(modules)} modules, such as {modules[0]}"] if modules else []
    old, new = (_flatten({**p.model_dump(), "code": {}}) for p in (before, now))
    changed = sorted(key for key in old | new if old.get(key) != new.get(key))
    return code + [_difference(key, old.get(key), new.get(key)) for key in changed]


def _difference(key: tuple[str, ...], before: Any, now: Any) -> str:
    if key[-1] == "sha256":
        return f"content of the {key[1]} images"
    reason = ", over which the recipe spreads its schedule" if key[-1] == "epochs" else ""
    return f"{'.'.join(key)} {before} -> {now}{reason}"


def _flatten(value: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {path: leaf for k, v in value.items() for path, leaf in _flatten(v, (*key, k)).items()}
