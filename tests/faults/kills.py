"""Kill dvc, a stage, or both, at any time: `dvc status` tells the truth, `dvc repro` mends it.

python -m tests.faults.kills --count 60 --seed 0 does it longer than the suite.
"""

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from ruamel.yaml import YAML
from tqdm import tqdm

from tests.dvc_repository import SMALL as REPOSITORY
from tests.dvc_repository import commit, create_repository, environment, results, succeeds
from tests.factories import write_params

SMALL = {"train__epochs": 1, "render__epochs": ["last"], "render__num_pictures": 1}
VICTIMS = ("dvc", "stage", "all")
_LONGEST_S = 120


class Victim:
    """A repository in which `dvc repro` is killed again and again, and what it must end as.

    Args:
        seeds: of the sample; for each, what a run that nobody disturbs gives is found out first.
    """

    def __init__(self, folder: Path, seeds: Sequence[int] = (0,)) -> None:
        self.folder = create_repository(folder, **SMALL)
        self.expected: dict[int, dict[str, bytes]] = {}
        for self.seed in seeds:
            self.set_seed(self.seed)
            succeeds(self.folder, "dvc", "repro")
            self.expected[self.seed] = self.results()
        commit(self.folder, "run")

    def set_seed(self, seed: int) -> None:
        """Change a parameter on which all results depend."""
        self.seed = seed
        write_params(self.folder / "params.yaml", **{**REPOSITORY, **SMALL, "sample__seed": seed})

    def results(self) -> dict[str, bytes]:
        """Without the lock files, which name the processes that held them."""
        found, locks = results(self.folder), ("models/epochs.lock", "data/.prepared.lock")
        return {name: found[name] for name in found if name not in locks}

    def forget(self) -> None:
        """As if nothing had ever run here."""
        self.remove(".ckpt", ".dvc/cache", ".dvc/tmp", "data", "models", "plots", "metrics")
        (self.folder / "dvc.lock").unlink(missing_ok=True)

    def remove(self, *folders: str) -> None:
        for name in folders:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def killed(self, victim: str, stage: str | None, delay: float) -> None:
        """`dvc repro`, where `victim` is killed `delay` seconds after `stage` (or dvc) begins."""
        with started(self.folder) as dvc:
            if stage is not None:
                wait_for(dvc, stage)
            with contextlib.suppress(subprocess.TimeoutExpired):
                dvc.wait(delay)
            orphans = victims(dvc, "stage") if victim == "dvc" else []
            for process in victims(dvc, victim):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            dvc.wait(_LONGEST_S)
            _, living = psutil.wait_procs(orphans, timeout=_LONGEST_S)
            assert not living, f"outlives its dvc: {living}"

    def require_truth(self) -> None:
        """Outs of a stage that `dvc status` calls up to date are those of one run, undisturbed."""
        changed = YAML().load(succeeds(self.folder, "dvc", "status", "--json"))
        found = self.results()
        lock = YAML().load(found.get("dvc.lock", b"stages: {}"))
        for stage, told in lock["stages"].items():
            paths = [] if stage in changed else [out["path"] for out in told["outs"]]
            assert any(
                all(part(found, path) == part(expected, path) for path in paths)
                for expected in self.expected.values()
            ), f"{stage}: {paths} are not what they should be, and dvc status is silent"

    def require_mended(self) -> None:
        """One `dvc repro` ends in the results of a run that nobody disturbed."""
        succeeds(self.folder, "dvc", "repro")
        found, expected = self.results(), self.expected[self.seed]
        assert found.keys() == expected.keys()
        differ = [name for name in found if found[name] != expected[name]]
        assert not differ, f"other than undisturbed: {differ}"
        assert "up to date" in succeeds(self.folder, "dvc", "status")


def part(files: dict[str, bytes], path: str) -> dict[str, bytes]:
    return {name: files[name] for name in files if name == path or name.startswith(f"{path}/")}


@contextlib.contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dvc repro` in a session of its own; none of it is left afterwards."""
    nowhere = subprocess.DEVNULL
    dvc = subprocess.Popen(
        ("dvc", "repro"),
        cwd=folder,
        env={**environment(), "SHELL": "/bin/sh"},  # where no user is logged in
        stdout=nowhere,
        stderr=nowhere,
        start_new_session=True,
    )
    try:
        yield dvc
    finally:
        dvc.kill()
        dvc.wait()


def stage_of(dvc: subprocess.Popen[bytes]) -> tuple[str, list[psutil.Process]] | None:
    """The stage that runs, by name, with its processes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(dvc.pid).children(recursive=True)
        for child in children:
            words = child.cmdline()
            if words[1:2] == ["-m"] and words[2].startswith("stages."):
                return words[2].removeprefix("stages."), [child, *child.children(recursive=True)]
    return None


def wait_for(dvc: subprocess.Popen[bytes], stage: str) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while dvc.poll() is None:
        if (found := stage_of(dvc)) and found[0] == stage:
            return
        assert time.monotonic() < deadline, f"{stage} has not begun"
        time.sleep(0.005)


def victims(dvc: subprocess.Popen[bytes], victim: str) -> list[psutil.Process]:
    found = stage_of(dvc)
    processes = {
        "dvc": [psutil.Process(dvc.pid)] if dvc.poll() is None else [],
        "stage": found[1] if found else [],
    }
    return [*processes["dvc"], *processes["stage"]] if victim == "all" else processes[victim]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, faults, runs = random.Random(args.seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        victim, left = Victim(Path(folder) / "repository", seeds=(0, 1)), 0
        for number in tqdm(range(args.count), "kills", disable=None):
            if left == 0:  # a few kills on the way from nothing, or from other results, to the end
                if rng.random() < 0.5:
                    victim.forget()
                left, runs = rng.randint(1, 6), runs + 1
            if rng.random() < 0.5:
                victim.set_seed(1 - victim.seed)
            who, delay = rng.choice(VICTIMS), rng.uniform(0.2, 12)
            victim.killed(who, None, delay)
            left -= 1
            try:
                victim.require_truth()
                if left == 0 or number + 1 == args.count:
                    victim.require_mended()
            except (AssertionError, OSError) as error:
                faults += 1
                tqdm.write(f"fault: kill {number} ({who} after {delay:.2f} s): {error}")
                left = 0
    print(f"{args.count} kills in {runs} runs, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
