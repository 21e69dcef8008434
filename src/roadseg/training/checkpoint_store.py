"""The directory of one training's checkpoints, outside DVC, which removes outputs before a run.

provenance.json                     its fingerprint is the name of the directory
lock                                held by the process that trains
state_00000012-DIGEST.safetensors   a checkpoint: everything needed to resume; the latest few
epoch_003-DIGEST.safetensors        the weights of each finished epoch

A file gets its name when it is complete, and the name contains 16 digits of its SHA-256, so that a
file that was truncated or changed later is noticed.
"""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from roadseg.config.json_files import read_model
from roadseg.provenance.model_metadata import TrainingProvenance
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, file_sha256, write_json
from roadseg.system.locks import acquire_lock, hold_lock

_KEY = "state"  # one metadata key only: safetensors writes several in changing order
_STATE, _DIGITS = "state_", 16
_TICK = 1_000_000  # nanoseconds; coarser than what file systems keep
_MAX_DIFFERENCES = 4
"""Largest number of differences to the closest training that are reported."""


class CheckpointStore:
    """Checkpoints of the training with `provenance`, in a directory below `root`."""

    def __init__(self, root: Path, provenance: TrainingProvenance) -> None:
        self.root, self.provenance = root, provenance
        self.folder = root / provenance.fingerprint()

    @contextlib.contextmanager
    def lock(self, while_waiting: Callable[[], None], fresh: bool) -> Iterator[None]:
        """Lock the directory against other processes.

        Args:
            while_waiting: called while another process trains the same; may raise to give up.
            fresh: remove all checkpoints.
        """
        with hold_lock(self.folder / "lock", "train: trains exactly this already", while_waiting):
            self._draft.unlink(missing_ok=True)  # of a process that was killed
            if fresh:
                _remove(self.folder.glob("*.safetensors"))
            write_json(self.folder / "provenance.json", self.provenance.model_dump())
            self._touch()
            yield

    def load_latest(
        self, epochs: int
    ) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
        """Load the latest undamaged checkpoint whose first `epochs` weights are undamaged too.

        What is damaged is reported, and the previous checkpoint is tried.

        Returns:
            What `save` was given: tensors, facts and names of weights; None without checkpoint.
        """
        paths = self._states()
        for path in reversed(paths):
            try:
                checkpoint = _read(path)
                for name in checkpoint[2][:epochs]:
                    _require_undamaged(self.folder / name)
                return checkpoint
            except InputError as error:
                warning = f"warning: {error}; {path.name} cannot be used, trying the previous one"
                print(warning, file=sys.stderr)
        if paths:
            print(f"warning: {self.folder}: no usable checkpoint is left", file=sys.stderr)
        return None

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any], weights: list[str]) -> Path:
        """Save a checkpoint.

        Args:
            facts: JSON.
            weights: what `add_weights` returned for each finished epoch.

        Raises:
            InputError: the disk is full; the earlier checkpoints stay.
        """
        paths = self._states()
        number = 1 + (int(paths[-1].stem.split("-")[0].removeprefix(_STATE)) if paths else 0)
        # the order of the keys is kept, because those of a row are columns
        metadata = {_KEY: json.dumps({"facts": facts, "weights": weights})}
        path = self._add(
            f"{_STATE}{number:08d}", lambda file: save_file(tensors, file, metadata=metadata)
        )
        _remove(old for old in self.folder.glob("epoch_*") if old.name not in set(weights))
        self._touch()
        return path

    def add_weights(self, path: Path) -> str:
        """Copy the weights of an epoch to this directory, and return their name in it.

        A hard link would change with the original if somebody writes to that in place.
        """
        return self._add(path.stem, lambda file: shutil.copyfile(path, file)).name

    def keep_latest(self, num_checkpoints: int) -> None:
        """Remove all checkpoints but the latest `num_checkpoints`."""
        _remove(self._states()[:-num_checkpoints])

    def describe_closest(self) -> str:
        """Say how the closest of the other trainings differs from this one."""
        others = []
        for path in sorted(self.root.glob("*/provenance.json")):
            # this is only an explanation: a file that is not ours must not stop the training
            with contextlib.suppress(InputError):
                if path.parent != self.folder:
                    other = read_model(TrainingProvenance, path)
                    if differences := self.provenance.differences_from(other):
                        others.append(differences)  # not of a copy of this training's directory
        if not others:
            return "no earlier checkpoint"
        # of two that are as close, prefer the one of the same code
        closest = min(others, key=lambda found: (len(found), found[0].startswith("its code")))
        more = len(closest) - _MAX_DIFFERENCES
        text = "; ".join(closest[:_MAX_DIFFERENCES] + ([f"{more} more"] if more > 0 else []))
        return f"no matching checkpoint; the closest one differs in {text}"

    def remove_oldest_trainings(self, num_trainings: int) -> None:
        """Keep the checkpoints of the `num_trainings` used last, and of any that runs now."""
        last_use = self._last_uses()
        latest_first = sorted(last_use, key=last_use.__getitem__, reverse=True)
        for folder in latest_first[num_trainings - 1 :]:
            if lock := acquire_lock(folder / "lock"):
                # the lock goes last, so that nobody takes a directory that is half empty; what
                # cannot be removed stays, and must not stop the training
                with lock, contextlib.suppress(OSError):
                    _remove(path for path in folder.iterdir() if path.name != "lock")
                    shutil.rmtree(folder)

    def _last_uses(self) -> dict[Path, int]:
        """Return when each of the other trainings was used last; only the order counts."""
        last_use = {}
        for lock in self.root.glob("*/lock"):
            if lock.parent != self.folder:
                with contextlib.suppress(FileNotFoundError):  # another process removes it
                    last_use[lock.parent] = lock.parent.stat().st_mtime_ns
        return last_use

    def _touch(self) -> None:
        """Make this training the one used last, even if the clock was set back meanwhile."""
        now = max([time.time_ns(), *(use + _TICK for use in self._last_uses().values())])
        with contextlib.suppress(OSError):  # the directory of another user
            os.utime(self.folder, ns=(now, now))

    @property
    def _draft(self) -> Path:
        return self.folder / "unfinished"

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_STATE}*.safetensors"))

    def _add(self, stem: str, write: Callable[[Path], object]) -> Path:
        """Write a file, and name it by `stem` and its hash once its bytes are on disk."""
        try:
            with atomic_file(self._draft) as temporary:
                write(temporary)
            digest = file_sha256(self._draft)[:_DIGITS]
            return self._draft.replace(self.folder / f"{stem}-{digest}.safetensors")
        except (OSError, SafetensorError) as error:
            self._draft.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.folder}: the checkpoint cannot be saved ({reason}); make room, then run it "
                "again: it resumes from the last checkpoint"
            ) from None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    _require_undamaged(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        saved = json.loads(file.metadata()[_KEY])
        return tensors, saved["facts"], saved["weights"]


def _require_undamaged(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: is missing")
    if file_sha256(path)[:_DIGITS] != path.stem[-_DIGITS:]:
        raise InputError(f"{path}: is damaged (its content does not match the hash in its name)")


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink()
