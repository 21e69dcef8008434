"""Checkpoints and outputs of a training run, so that it can be interrupted at any moment."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from roadseg.config.json_files import write_model
from roadseg.config.params import Resume
from roadseg.models.model_file import epoch_file, save_weights
from roadseg.provenance.model_metadata import (
    ModelMetadata,
    TrainedModelMetadata,
    TrainingProvenance,
)
from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup
from roadseg.system.cli import INTERRUPTED
from roadseg.system.files import copy_file
from roadseg.system.locks import hold_lock
from roadseg.system.tables import round_significant, write_table
from roadseg.training.checkpoint_store import CheckpointStore
from roadseg.training.metrics import HistoryRow, best_epoch, training_metrics
from roadseg.training.train_state import TrainState

FRESH = "FRESH"
"""Environment variable: 1 ignores and removes earlier checkpoints of the same training run."""


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """Paths that a training run writes; all but `runs` and `states` are outputs of its stage."""

    epochs: Path
    best: Path
    history: Path
    metrics: Path
    runs: Path
    """TensorBoard runs."""
    states: Path
    """Checkpoints."""


class RunMetadata(ModelMetadata):
    """Metadata that all models of a training run share; the provenance identifies the run."""

    provenance: TrainingProvenance


class Checkpointer:
    """Saves checkpoints and outputs of a training run asynchronously, one after the other.

    Args:
        outputs: paths to write.
        metadata: common metadata of the models.
        resume: how often to save, and how much to keep.
        epochs: number of epochs of the outputs; checkpoints may have more.
    """

    def __init__(
        self, outputs: RunPaths, metadata: RunMetadata, resume: Resume, epochs: int
    ) -> None:
        self.outputs, self.metadata = outputs, metadata
        self.resume, self.epochs = resume, epochs
        self.store = CheckpointStore(outputs.states, metadata.provenance)
        self.fresh = os.environ.get(FRESH) == "1"
        self._weights: list[str] = []  # names of the weights of finished epochs in the store
        self._saved_step, self._saved_at = 0, 0.0  # last checkpoint; monotonic clock, seconds
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._writing: Future[None] | None = None

    @contextlib.contextmanager
    def lock(self, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Lock outputs and checkpoints against other processes; `while_waiting` may raise."""
        outputs_lock = self.outputs.epochs.with_suffix(".lock")
        work = f"train: still writes {self.outputs.epochs.parent}"
        with (
            hold_lock(outputs_lock, work, while_waiting),
            self.store.lock(while_waiting, self.fresh),
        ):
            try:
                yield
            finally:
                self._writer.shutdown()  # before the locks are released

    def load(self, state: TrainState) -> bool:
        """Load the latest checkpoint into the initial `state`, restore the outputs, and report it.

        Returns:
            True if there was a checkpoint.
        """
        checkpoint = self.store.load_latest(self.epochs)
        if checkpoint:
            state.restore(checkpoint.tensors, checkpoint.progress)
            self._weights = checkpoint.weights
        self._restore_outputs(state)
        self._saved_step, self._saved_at = state.step, time.monotonic()
        if state.epoch >= self.epochs:
            print(f"train: all {self.epochs} epochs are already trained; set {FRESH}=1 to retrain")
        else:
            place = f"epoch {state.epoch + 1} of {self.epochs}"
            reason = f"{FRESH}=1 is set" if self.fresh else self.store.describe_closest()
            resumed = f"resuming after step {state.step} ({place})"
            print(f"train: {resumed if checkpoint else f'starting at step 0; {reason}'}")
            print(f"train: checkpoints in {self.store.folder}", flush=True)
        self.store.remove_oldest_trainings(self.resume.trainings)
        return checkpoint is not None

    def is_save_due(self) -> bool:
        """Return True if the last checkpoint is older than `resume.minutes`."""
        return time.monotonic() - self._saved_at >= 60 * self.resume.minutes

    def is_saved(self, state: TrainState) -> bool:
        """Return True if the last checkpoint contains all steps of `state`."""
        return state.step <= self._saved_step

    def save(self, state: TrainState, epoch_done: bool = False) -> None:
        """Copy `state`, which may change afterwards, and start to save the copy.

        Args:
            epoch_done: write the outputs of the epoch that has just ended; a checkpoint follows
                only if it is due or this was the last epoch.

        Raises:
            InputError: the previous save, which this one waits for, failed.
        """
        self.wait()
        weights = state.weights() if epoch_done else None
        tensors = None
        if not epoch_done or self.is_save_due() or state.epoch >= self.epochs:
            self._saved_step, self._saved_at = state.step, time.monotonic()
            tensors = state.tensors()
        self._writing = self._writer.submit(self._write, state.progress(), weights, tensors)

    def wait(self) -> None:
        """Wait until everything is written. Raises InputError if that failed."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(
        self,
        progress: dict[str, Any],
        weights: dict[str, Tensor] | None,
        tensors: dict[str, Tensor] | None,
    ) -> None:
        if weights is not None:
            path = self._write_epoch(weights, progress)
            self._weights.append(self.store.add_weights(path))
        if tensors is not None:
            self.store.save(tensors, progress, self._weights)
            self.store.keep_latest(self.resume.states)

    def _write_epoch(self, weights: dict[str, Tensor], progress: dict[str, Any]) -> Path:
        """Write the outputs of the last finished epoch, and return the file of its weights."""
        history = [HistoryRow(**row) for row in progress["history"]]
        last = history[-1]
        path = epoch_file(self.outputs.epochs, last.epoch)
        trained = {
            "machines": progress["machines"],
            "epoch": last.epoch,
            "val_miou": round_significant(last.val_miou),
        }
        save_weights(path, weights, TrainedModelMetadata(**{**dict(self.metadata), **trained}))
        self._write_summary(history, progress["draws"])
        return path

    def _restore_outputs(self, state: TrainState) -> None:
        """Write the outputs of the finished epochs of `state`, and remove all other outputs."""
        shutil.rmtree(self.outputs.epochs, ignore_errors=True)
        for path in (self.outputs.best, self.outputs.history, self.outputs.metrics):
            path.unlink(missing_ok=True)
        for epoch, name in enumerate(self._weights[: self.epochs], start=1):
            copy_file(self.store.folder / name, epoch_file(self.outputs.epochs, epoch))
        if state.history:
            self._write_summary(state.history[: self.epochs], state.draws[: self.epochs])

    def _write_summary(self, history: Sequence[HistoryRow], draws: Sequence[list[float]]) -> None:
        """Write the best model, the history and the metrics; each file is replaced atomically."""
        best = best_epoch(history)
        if best == len(history) or not self.outputs.best.exists():
            copy_file(epoch_file(self.outputs.epochs, best), self.outputs.best)
        write_table(self.outputs.history, pd.DataFrame(list(history)))
        write_model(self.outputs.metrics, training_metrics(history, draws))


class NullCheckpointer:
    """Checkpointer for ranks other than 0; it writes nothing."""

    def __init__(self, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        self.process_group = process_group

    @contextlib.contextmanager
    def lock(self, _while_waiting: Callable[[], None]) -> Iterator[None]:
        """If the training is interrupted, wait until rank 0 has saved it and exited."""
        try:
            yield
        except KeyboardInterrupt:
            self.process_group.wait_for_first()
            os._exit(INTERRUPTED)  # rank 0 has printed the message

    def load(self, _state: TrainState) -> bool:
        """Return True; rank 0 broadcasts the state that it loaded."""
        return True

    def is_save_due(self) -> bool:
        """Return False."""
        return False

    def is_saved(self, _state: TrainState) -> bool:
        """Return True."""
        return True

    def save(self, _state: TrainState, epoch_done: bool = False) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""
