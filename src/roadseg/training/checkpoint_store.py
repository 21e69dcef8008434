"""The checkpoints of one training run on disk.

They are outside DVC, which removes the outputs of a stage before it runs. The directory contains:

provenance.json                     its fingerprint is the name of the directory
lock                                held by the process that trains
state_00000012-DIGEST.safetensors   a checkpoint: everything needed to resume; the latest few
epoch_003-DIGEST.safetensors        the weights of each finished epoch

A file gets its name when it is complete, and the name contains 16 digits of its SHA-256, so that
truncated and modified files are detected. Files with other names are ignored.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from roadseg.config.json_files import read_model
from roadseg.provenance.model_metadata import TrainingProvenance
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, file_sha256, write_json
from roadseg.system.locks import acquire_lock, hold_lock

_KEY = "state"  # the only metadata key: safetensors writes several in random order
_DIGITS = 16
_CHECKPOINT_NAME = re.compile(r"state_[0-9]{8,}-[0-9a-f]{16}\.safetensors")
_WEIGHTS_NAME = re.compile(r"epoch_[0-9]{3,}-[0-9a-f]{16}\.safetensors")
_TICK_NS = 1_000_000  # coarser than the time stamps of file systems
_MAX_DIFFERENCES = 4
"""Maximum number of differences from the closest training run that are reported."""


class Checkpoint(NamedTuple):
    """Everything needed to resume a training run."""

    tensors: dict[str, Tensor]
    progress: dict[str, Any]
    """JSON."""
    weights: list[str]
    """File name, in the store, of the weights of each finished epoch."""


class CheckpointStore:
    """Checkpoints of the training run with `provenance`, in a directory below `root`."""

    def __init__(self, root: Path, provenance: TrainingProvenance) -> None:
        self.root, self.provenance = root, provenance
        self.folder = root / provenance.fingerprint()

    @contextlib.contextmanager
    def lock(self, while_waiting: Callable[[], None], fresh: bool) -> Iterator[None]:
        """Lock the directory against other processes; if `fresh`, remove all checkpoints.

        `while_waiting` is called while another process holds the lock; it may raise to give up.
        """
        work = "train: is already running this training"
        with hold_lock(self.folder / "lock", work, while_waiting):
            self._draft.unlink(missing_ok=True)  # left by a process that was killed
            if fresh:
                _remove(self._checkpoints() + self._weights())
            write_json(self.folder / "provenance.json", self.provenance.model_dump())
            self._touch()
            yield

    def load_latest(self, epochs: int) -> Checkpoint | None:
        """Load the latest checkpoint that is undamaged, as are its first `epochs` weight files.

        A damaged file is reported, and the previous checkpoint is tried. None if there is none.
        """
        paths = self._checkpoints()
        for path in reversed(paths):
            try:
                checkpoint = _read(path)
                for name in checkpoint.weights[:epochs]:
                    _require_undamaged(self.folder / name)
                return checkpoint
            except InputError as error:
                warning = f"warning: {error}; {path.name} cannot be used, trying the previous one"
                print(warning, file=sys.stderr)
        if paths:
            print(f"warning: {self.folder}: no usable checkpoint is left", file=sys.stderr)
        return None

    def save(
        self, tensors: dict[str, Tensor], progress: dict[str, Any], weights: list[str]
    ) -> Path:
        """Save a checkpoint; see `Checkpoint` for the arguments.

        Raises:
            InputError: the disk is full; the earlier checkpoints stay.
        """
        paths = self._checkpoints()
        number = 1 + (int(paths[-1].name.removeprefix("state_").split("-")[0]) if paths else 0)
        # the keys are not sorted: their order in a history row is the order of the CSV columns
        metadata = {_KEY: json.dumps({"facts": progress, "weights": weights})}
        path = self._add(
            f"state_{number:08d}", lambda file: save_file(tensors, file, metadata=metadata)
        )
        _remove(old for old in self._weights() if old.name not in set(weights))
        self._touch()
        return path

    def add_weights(self, path: Path) -> str:
        """Copy the weights of an epoch to this directory, and return the name of the copy.

        A hard link would change with the original if that were modified in place.
        """
        return self._add(path.stem, lambda file: shutil.copyfile(path, file)).name

    def keep_latest(self, num_checkpoints: int) -> None:
        """Remove all checkpoints but the latest `num_checkpoints`."""
        _remove(self._checkpoints()[:-num_checkpoints])

    def describe_closest(self) -> str:
        """Describe how the most similar of the other training runs differs from this one."""
        others = []
        for path in sorted(self.root.glob("*/provenance.json")):
            # this is only an explanation: an unreadable file must not stop the training
            with contextlib.suppress(InputError):
                if path.parent != self.folder:
                    other = read_model(TrainingProvenance, path)
                    if differences := self.provenance.differences_from(other):
                        others.append(differences)  # not of a copy of this training's directory
        if not others:
            return "no earlier checkpoint"
        # among equally close ones, prefer one of the same code
        closest = min(others, key=lambda found: (len(found), found[0].startswith("its code")))
        more = len(closest) - _MAX_DIFFERENCES
        text = "; ".join(closest[:_MAX_DIFFERENCES] + ([f"{more} more"] if more > 0 else []))
        return f"no matching checkpoint; the closest one differs in {text}"

    def remove_oldest_trainings(self, num_trainings: int) -> None:
        """Keep the checkpoints of the `num_trainings` last used runs and of all active runs."""
        last_use = self._last_uses()
        latest_first = sorted(last_use, key=last_use.__getitem__, reverse=True)
        for folder in latest_first[num_trainings - 1 :]:
            if lock := acquire_lock(folder / "lock"):
                # the lock is removed last, so that no process uses a half-empty directory; files
                # that cannot be removed must not stop the training
                with lock, contextlib.suppress(OSError):
                    _remove(path for path in folder.iterdir() if path.name != "lock")
                    shutil.rmtree(folder)

    def _last_uses(self) -> dict[Path, int]:
        """Return when each of the other runs was used last; only the order is meaningful."""
        last_use = {}
        for lock in self.root.glob("*/lock"):
            if lock.parent != self.folder:
                with contextlib.suppress(FileNotFoundError):  # another process removes it
                    last_use[lock.parent] = lock.parent.stat().st_mtime_ns
        return last_use

    def _touch(self) -> None:
        """Mark this run as the last used one, even if the clock was set back meanwhile."""
        now = max([time.time_ns(), *(use + _TICK_NS for use in self._last_uses().values())])
        with contextlib.suppress(OSError):  # the directory belongs to another user
            os.utime(self.folder, ns=(now, now))

    @property
    def _draft(self) -> Path:
        return self.folder / "unfinished"

    def _checkpoints(self) -> list[Path]:
        """Return the checkpoint files, the latest last."""
        return sorted(self._files(_CHECKPOINT_NAME), key=lambda path: (len(path.name), path.name))

    def _weights(self) -> list[Path]:
        return self._files(_WEIGHTS_NAME)

    def _files(self, pattern: re.Pattern[str]) -> list[Path]:
        return [path for path in self.folder.glob("*") if pattern.fullmatch(path.name)]

    def _add(self, stem: str, write: Callable[[Path], object]) -> Path:
        """Write a file, and name it after `stem` and its hash once its bytes are on disk."""
        try:
            with atomic_file(self._draft) as temporary:
                write(temporary)
            digest = file_sha256(self._draft)[:_DIGITS]
            return self._draft.replace(self.folder / f"{stem}-{digest}.safetensors")
        except (OSError, SafetensorError) as error:
            self._draft.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.folder}: the checkpoint cannot be saved ({reason}); free some disk space "
                "and run again to resume from the last checkpoint"
            ) from None


def _read(path: Path) -> Checkpoint:
    _require_undamaged(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        saved = json.loads(file.metadata()[_KEY])
        return Checkpoint(tensors, saved["facts"], saved["weights"])


def _require_undamaged(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: is missing")
    if file_sha256(path)[:_DIGITS] != path.stem[-_DIGITS:]:
        raise InputError(f"{path}: is damaged (its content does not match the hash in its name)")


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink()
