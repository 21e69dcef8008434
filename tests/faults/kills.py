"""Kill dvc, a stage, or both, at any time: `dvc status` is right and `dvc repro` repairs the rest.

python -m tests.faults.kills --count 60 --seed 0 kills more often than the suite.
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
from ruamel.yaml.error import YAMLError
from tqdm import tqdm

from tests.dvc_repository import SMALL, environment, results, run_pipeline, succeeds
from tests.factories import write_params

VICTIMS = ("dvc", "stage", "all")
_LONGEST_S = 120


class Victim:
    """A repository in which `dvc repro` is killed, and the results of undisturbed runs.

    Args:
        folder: a repository in which the pipeline has run, perhaps in another folder.
        more_seeds: of the sample; the pipeline runs once with each.
    """

    def __init__(self, folder: Path, more_seeds: Sequence[int] = ()) -> None:
        self.folder, self.seed = folder, 0
        self.expected = {0: self.results()}
        for seed in more_seeds:
            self.set_seed(seed)
            succeeds(self.folder, "dvc", "repro")
            self.expected[seed] = self.results()

    def set_seed(self, seed: int) -> None:
        """Change a parameter on which all results depend."""
        self.seed = seed
        write_params(self.folder / "params.yaml", **{**SMALL, "sample__seed": seed})

    def results(self) -> dict[str, bytes]:
        """All results except lock files, which name the processes that held them."""
        found, locks = results(self.folder), ("models/epochs.lock", "data/.prepared.lock")
        return {name: found[name] for name in found if name not in locks}

    def delete_results(self) -> None:
        """Delete everything that stages and dvc have written."""
        self.remove(".ckpt", ".dvc/cache", ".dvc/tmp", "data", "models", "plots", "metrics")
        (self.folder / "dvc.lock").unlink(missing_ok=True)
        # results of make final, which no stage writes
        kept = ("metrics/test.json", "metrics/test_runs.csv", "plots/test")
        succeeds(self.folder, "git", "checkout", "--", *kept)

    def remove(self, *folders: str) -> None:
        for name in folders:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def kill(self, victim: str, stage: str | None, delay: float) -> None:
        """Run `dvc repro` and kill `victim` `delay` seconds after `stage` (or dvc) begins."""
        with run_repro(self.folder) as dvc:
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
            assert not living, f"outlived dvc: {living}"
        rwlock, lock = self.folder / ".dvc/tmp/rwlock", self.folder / "dvc.lock"
        # killed while dvc wrote them: interruptions.md
        if rwlock.is_file() and not rwlock.read_bytes():
            rwlock.unlink()
        if lock.is_file() and not is_whole(lock):
            lock.unlink()

    def require_true_status(self) -> None:
        """Stages that `dvc status` calls up to date have the outs of an undisturbed run."""
        changed = YAML().load(succeeds(self.folder, "dvc", "status", "--json"))
        found = self.results()
        lock = YAML().load(found.get("dvc.lock", b"stages: {}"))
        for stage, entry in lock["stages"].items():
            paths = [] if stage in changed else [out["path"] for out in entry["outs"]]
            assert any(
                all(below(found, path) == below(expected, path) for path in paths)
                for expected in self.expected.values()
            ), f"{stage}: {paths} are wrong, and dvc status calls them up to date"

    def require_repair(self) -> None:
        """One `dvc repro` gives the results of an undisturbed run."""
        succeeds(self.folder, "dvc", "repro")
        found, expected = self.results(), self.expected[self.seed]
        assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
        differ = [name for name in found if found[name] != expected[name]]
        assert not differ, f"differ from an undisturbed run: {differ}"
        assert "up to date" in succeeds(self.folder, "dvc", "status")


def is_whole(lock: Path) -> bool:
    """Return False if dvc was killed while it wrote the `lock`, which it truncates first."""
    try:
        return all("outs" in entry for entry in YAML().load(lock)["stages"].values())
    except (YAMLError, TypeError, KeyError, AttributeError):
        return False


def below(files: dict[str, bytes], path: str) -> dict[str, bytes]:
    """The file at `path`, or the files in the folder `path`."""
    return {name: files[name] for name in files if name == path or name.startswith(f"{path}/")}


@contextlib.contextmanager
def run_repro(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dvc repro` in a session of its own, killed at the end of the block."""
    nowhere = subprocess.DEVNULL
    dvc = subprocess.Popen(
        ("dvc", "repro"),
        cwd=folder,
        env={**environment(), "SHELL": "/bin/sh"},  # DVC needs it where no user is logged in
        stdout=nowhere,
        stderr=nowhere,
        start_new_session=True,
    )
    try:
        yield dvc
    finally:
        dvc.kill()
        dvc.wait()


def running_stage(dvc: subprocess.Popen[bytes]) -> tuple[str, list[psutil.Process]] | None:
    """Name and processes of the stage that runs."""
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
        if (found := running_stage(dvc)) and found[0] == stage:
            return
        assert time.monotonic() < deadline, f"{stage} did not start"
        time.sleep(0.05)


def victims(dvc: subprocess.Popen[bytes], victim: str) -> list[psutil.Process]:
    found = running_stage(dvc)
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
        run_pipeline(Path(folder) / "repository")
        victim, left = Victim(Path(folder) / "repository", more_seeds=(1,)), 0
        for number in tqdm(range(args.count), "kills", disable=None):
            if left == 0:  # then a few kills, starting from nothing or from other results
                if rng.random() < 0.5:
                    victim.delete_results()
                left, runs = rng.randint(1, 6), runs + 1
            if rng.random() < 0.5:
                victim.set_seed(1 - victim.seed)
            who, delay = rng.choice(VICTIMS), rng.uniform(0.2, 12)
            victim.kill(who, None, delay)
            left -= 1
            try:
                victim.require_true_status()
                if left == 0 or number + 1 == args.count:
                    victim.require_repair()
            except (AssertionError, OSError) as error:
                faults += 1
                tqdm.write(f"fault: kill {number} ({who} after {delay:.2f} s): {error}")
                left = 0
    print(f"{args.count} kills in {runs} runs, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
