"""The folder of one training's states, outside DVC: what an interruption must not lose.

provenance.json                     what the folder's name is the fingerprint of
lock                                held by the process that trains
state_00000012-DIGEST.safetensors  everything that training needs to go on; the newest few
epoch_003-DIGEST.safetensors       weights after each finished epoch, for DVC removes its outs

A file gets its name when it is whole, and the name holds 16 digits of its SHA-256: one that was
cut or changed since is noticed.
"""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from roadseg.provenance.fingerprint import Provenance, fingerprint, list_differences
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, read_json, write_json
from roadseg.system.locks import acquire_lock, hold_lock

_KEY = "state"  # one metadata key only: safetensors writes several in changing order
_STATE, _DIGITS = "state_", 16
_TICK = 1_000_000  # nanoseconds; coarser than what file systems keep


class CheckpointStore:
    """States of the training that `origin` describes, below the folder `root`."""

    def __init__(self, root: Path, origin: Provenance, num_states: int) -> None:
        self.root, self.origin, self.num_states = root, origin, num_states
        self.folder = root / fingerprint(origin)

    @contextlib.contextmanager
    def opened(self, while_waiting: Callable[[], None], fresh: bool) -> Iterator[None]:
        """Hold the folder against every other process.

        Args:
            while_waiting: called while another process trains the same; may raise to give up.
            fresh: remove what is there.
        """
        with hold_lock(self.folder / "lock", "train: trains exactly this already", while_waiting):
            self._temporary.unlink(missing_ok=True)  # of a process that was killed
            if fresh:
                self._remove(self.folder.glob("*.safetensors"))
            write_json(self.folder / "provenance.json", self.origin)
            self._note_use()
            yield

    def newest(self, epochs: int) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
        """Tensors, facts and checkpoints of the newest state that is whole, as they were saved.

        Its first `epochs` checkpoints are whole, too.

        A damaged state is named and removed, and the one before it is taken. A state whose
        checkpoints are damaged stays: trained again, they take the same names.
        """
        states = self._states()
        for path in reversed(states):
            try:
                state = self._read(path)
            except InputError as error:
                print(f"warning: {error}; trying the state before it", file=sys.stderr)
                path.unlink()
                continue
            try:
                for name in state[2][:epochs]:
                    _require_whole(self.folder / name)
                return state
            except InputError as error:
                print(
                    f"warning: {error}; {path.name} needs it, trying the state before",
                    file=sys.stderr,
                )
        if states:
            print(f"warning: {self.folder}: no state is left to go on from", file=sys.stderr)
        return None

    def save(
        self, tensors: dict[str, Tensor], facts: dict[str, Any], checkpoints: list[str]
    ) -> Path:
        """Add a state, and remove those that are too old.

        Args:
            facts: JSON.
            checkpoints: what `add_checkpoint` gave for each finished epoch.

        Raises:
            InputError: no room; the states before it stay.
        """
        states = self._states()
        number = 1 + (int(states[-1].stem.split("-")[0].removeprefix(_STATE)) if states else 0)
        # keys in their order: a row's are columns
        metadata = {_KEY: json.dumps({"facts": facts, "checkpoints": checkpoints})}
        with self._writing():
            save_file(tensors, self._temporary, metadata=metadata)
            path = self._named(f"{_STATE}{number:08d}")
        self._remove([*states, path][: -self.num_states])
        kept = set(checkpoints)
        self._remove(old for old in self.folder.glob("epoch_*") if old.name not in kept)
        self._note_use()
        return path

    def add_checkpoint(self, checkpoint: Path) -> str:
        """Keep a copy of an epoch's weights; its name in this folder.

        No second name of the file: who writes into the model must not write into the copy.
        """
        with self._writing():
            shutil.copyfile(checkpoint, self._temporary)
            return self._named(checkpoint.stem).name

    def nearest_difference(self) -> list[str] | None:
        """How this training differs from the most alike of the others; None if there is none."""
        others = []
        for path in sorted(self.root.glob("*/provenance.json")):
            # it only explains: whatever is in a file that is none of ours, training goes on
            with contextlib.suppress(InputError, IndexError, TypeError, AttributeError):
                if path.parent != self.folder:
                    others.append(list_differences(read_json(path), self.origin))
        return min(others, key=len, default=None)

    def remove_oldest_trainings(self, num_trainings: int) -> None:
        """Leave the states of the `num_trainings` used last, and of those that train right now."""
        last_use = self._last_uses()
        oldest_last = sorted(last_use, key=last_use.__getitem__, reverse=True)
        for folder in oldest_last[num_trainings - 1 :]:
            if lock := acquire_lock(folder / "lock"):
                # the lock goes last: nobody takes the folder while it is half empty; what cannot
                # be removed stays, and is no reason not to train
                with lock, contextlib.suppress(OSError):
                    self._remove(path for path in folder.iterdir() if path.name != "lock")
                    shutil.rmtree(folder)

    def _last_uses(self) -> dict[Path, int]:
        """When the others were used last, nanoseconds; only their order counts."""
        last_use = {}
        for lock in self.root.glob("*/lock"):
            if lock.parent != self.folder:
                with contextlib.suppress(FileNotFoundError):  # another process removes it
                    last_use[lock.parent] = lock.parent.stat().st_mtime_ns
        return last_use

    def _note_use(self) -> None:
        """Make this training the one used last, also where the clock has gone back since."""
        now = max([time.time_ns(), *(use + _TICK for use in self._last_uses().values())])
        with contextlib.suppress(OSError, OverflowError):
            os.utime(self.folder, ns=(now, now))

    @property
    def _temporary(self) -> Path:
        return self.folder / "unfinished"

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_STATE}*.safetensors"))

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
        _require_whole(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            saved = json.loads(file.metadata()[_KEY])
            return tensors, saved["facts"], saved["checkpoints"]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            self._temporary.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.folder}: the state of the training cannot be saved ({reason}); make room, "
                f"then run it again: it goes on from the last state that was saved"
            ) from None

    def _named(self, stem: str) -> Path:
        """Give the temporary file its name, once its bytes are on disk."""
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        digest = file_sha256(self._temporary)[:_DIGITS]
        path = self.folder / f"{stem}-{digest}.safetensors"
        os.replace(self._temporary, path)
        return path

    def _remove(self, paths: Iterator[Path] | list[Path]) -> None:
        for path in list(paths):
            path.unlink()


def _require_whole(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: is missing")
    if file_sha256(path)[:_DIGITS] != path.stem[-_DIGITS:]:
        raise InputError(f"{path}: is damaged (its content has another hash than its name says)")
