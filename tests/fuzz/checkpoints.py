"""Damaged checkpoints (.ckpt/): train resumes from an undamaged one, or starts again.

Either way, the outputs must be byte-identical to those of an undisturbed run. The hash in a file's
name detects damage, not forgery (see SECURITY.md).
"""

import random
import shutil
from pathlib import Path

from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import check_training_outputs
from tests.fuzz.mutation import mutate_bytes, truncate_bytes
from tests.fuzz.workspace import CACHE, PLAN_FILE, SPLIT_FILE, TRAIN, copy_in, trained_workspace

STORE = ".ckpt"


def copy_checkpoints(work: Path) -> Path:
    """Copy a finished training into the workspace; return its directory of checkpoints."""
    copy_in(work, "params.yaml", CACHE, SPLIT_FILE, PLAN_FILE, STORE, source=trained_workspace())
    (work / "models").mkdir()
    (folder,) = (work / STORE).iterdir()
    return folder


def make_case(work: Path) -> Case:
    return Case([TRAIN], (STORE,), lambda: check_training_outputs(work, identical=True))


def mutate_checkpoints(rng: random.Random, work: Path) -> Case:
    paths = sorted(path for path in copy_checkpoints(work).iterdir() if path.name != "lock")
    for path in rng.sample(paths, rng.randint(1, 2)):
        path.write_bytes(rng.choice((truncate_bytes, mutate_bytes))(rng, path.read_bytes()))
    return make_case(work)


def change_layout(rng: random.Random, work: Path) -> Case:
    """Remove or rename checkpoints, or add files of other names."""
    folder = copy_checkpoints(work)
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
    return make_case(work)


KINDS: dict[str, CaseBuilder] = {
    "training mutated": mutate_checkpoints,
    "training layout": change_layout,
}
