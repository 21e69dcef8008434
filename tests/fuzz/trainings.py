"""Damaged states of trainings (.ckpt/), for train: it goes on from what is whole, or begins anew.

Its outs are those of a training that nothing disturbed, byte by byte. A state's hash tells of
damage, not of who wrote it: who forges both is trusted (SECURITY.md).
"""

import random
import shutil
from pathlib import Path

from tests.fuzz.case import Case, Make
from tests.fuzz.mutation import cut_bytes, mutated_bytes
from tests.fuzz.oracles import require_trained
from tests.fuzz.workspace import CACHE, SPLIT_FILE, TRAIN, bring, trained

STORE = ".ckpt"


def brought(work: Path) -> Path:
    """The training's folder of states, in a workspace that has trained."""
    bring(work, "params.yaml", CACHE, SPLIT_FILE, STORE, source=trained())
    (work / "models").mkdir()
    (folder,) = (work / STORE).iterdir()
    return folder


def case_of(work: Path) -> Case:
    return Case([TRAIN], (STORE,), lambda: require_trained(work, as_trained=True))


def mutated(rng: random.Random, work: Path) -> Case:
    paths = sorted(path for path in brought(work).iterdir() if path.name != "lock")
    for path in rng.sample(paths, rng.randint(1, 2)):
        path.write_bytes(rng.choice((cut_bytes, mutated_bytes))(rng, path.read_bytes()))
    return case_of(work)


def layout(rng: random.Random, work: Path) -> Case:
    """Files that are missing, named otherwise, or of somebody else."""
    folder = brought(work)
    for _ in range(rng.randint(1, 2)):
        path = rng.choice(sorted(folder.iterdir()))
        kind = rng.randrange(5)
        if kind == 0:
            path.unlink()
        elif kind == 1:
            names = ("state_x-0123456789abcdef", "state_99999999", "state_", "x", "epoch_002-0")
            path.rename(folder / f"{rng.choice(names)}.safetensors")
        elif kind == 2:
            path.unlink()
            path.symlink_to("nowhere")
        elif kind == 3:
            (folder / rng.choice(("unfinished", "a\nb", "state_00000009-x.safetensors"))).touch()
        else:
            other = work / STORE / rng.choice(("0123456789abcdef", "a\nb", "provenance.json"))
            if not other.exists():
                shutil.copytree(folder, other, symlinks=True)
    return case_of(work)


KINDS: dict[str, Make] = {"training mutated": mutated, "training layout": layout}
