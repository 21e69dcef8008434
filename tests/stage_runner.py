"""Run stages with the options that dvc.yaml gives them, below other folders."""

from importlib import import_module
from pathlib import Path

from roadseg.config.schema import read_yaml
from tests.factories import ROOT

_STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
_IN_GIT = {"--classes", "--splits"}
_NO_OUTS = {"runs", ".ckpt", ".downloads"}  # written, but not tracked by DVC


def _options(stage: str) -> dict[str, str]:
    """Path by option, without the options that `arguments` sets."""
    words = _STAGES[stage]["cmd"].split(f"stages.{stage} ")[1].split()
    options = dict(zip(words[::2], words[1::2], strict=True))
    return {
        name.removeprefix("--"): path
        for name, path in options.items()
        if name not in ("--params", "--pipeline", *_IN_GIT)
    }


def _outs(stage: str) -> set[str]:
    entries = [e for kind in ("outs", "metrics", "plots") for e in _STAGES[stage].get(kind, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries} | _NO_OUTS


ORDER = tuple(_STAGES)
WRITTEN = {s: {n: p for n, p in _options(s).items() if p in _outs(s)} for s in ORDER}
READ = {s: {n: p for n, p in _options(s).items() if p not in _outs(s)} for s in ORDER}


def arguments(stage: str, source: Path, target: Path) -> list[str]:
    """Arguments of `stage` that read below `source` and write below `target`."""
    paths = {"params": source / "params.yaml"}
    if stage in ("check", "fetch"):
        paths["pipeline"] = ROOT / "dvc.yaml"
    if stage == "remap":
        paths["classes"] = ROOT / "classes"
    if stage in ("fetch", "split"):
        paths["splits"] = ROOT / "splits"
    paths |= {name: source / path for name, path in READ[stage].items()}
    paths |= {name: target / path for name, path in WRITTEN[stage].items()}
    return [word for name, path in paths.items() for word in (f"--{name}", str(path))]


def run_stage(stage: str, source: Path, target: Path | None = None) -> None:
    """Run `stage` in this process; it reads below `source` and writes below `target` or there."""
    import_module(f"stages.{stage}").main(arguments(stage, source, target or source))
