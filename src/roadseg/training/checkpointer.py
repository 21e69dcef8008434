"""What a training leaves behind while it runs: outs, states to go on from, TensorBoard."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

from roadseg.config.params import Resume
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.errors import InputError
from roadseg.system.locks import hold_lock
from roadseg.training.artifacts import RunPaths, restore_epochs, training_metrics, write_epoch
from roadseg.training.checkpoint_store import CheckpointStore
from roadseg.training.divergence import DivergenceError, require_finite_state
from roadseg.training.tensorboard import TensorBoardLogger, run_name
from roadseg.training.train_state import TrainState

FRESH = "FRESH"
"""Environment variable: 1 trains from the first step on, whatever states there are."""
_DIFFERENCES = 4
"""Largest number of them that one line names."""


class Checkpointer:
    """Keeps a training on disk, so that it can be interrupted anywhere.

    A thread writes, one save after the other, while the training goes on.

    Args:
        outputs: where everything goes.
        description: goes into each epoch's weights; its `provenance` names the training.
        resume: how often to save, and how much to keep.
        stop: asked after each step.
    """

    def __init__(
        self, outputs: RunPaths, description: dict[str, Any], resume: Resume, stop: GracefulShutdown
    ) -> None:
        self.outputs, self.description, self.resume, self.stop = outputs, description, resume, stop
        self.store = CheckpointStore(outputs.states, description["provenance"], resume.states)
        self.board: TensorBoardLogger | None = None
        self.fresh = os.environ.get(FRESH) == "1"
        self._checkpoints: list[str] = []  # weights of the finished epochs, in the store
        self._saved_at = (0, 0.0)  # step and clock
        self._epochs = 0  # how many it shall have
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._writing: Future[None] | None = None

    @contextlib.contextmanager
    def opened(self, state: TrainState, epochs: int, accelerator: dict[str, Any]) -> Iterator[None]:
        """Bring `state` and the outs to where the training was left; hold them against others.

        Args:
            state: before the first step.
            epochs: how many the outs shall have; checkpoints beyond stay with the states.
            machine: what computes, for the record.

        Raises:
            KeyboardInterrupt: asked to stop while another process trained the same.
        """
        self._epochs = epochs
        outs_lock = self.outputs.epochs.with_suffix(".lock")
        with (
            hold_lock(
                outs_lock, f"train: still writes {self.outputs.epochs.parent}", self.stop.check
            ),
            self.store.opened(self.stop.check, self.fresh),
        ):
            self._resume(state, epochs, accelerator)
            self.store.remove_oldest_trainings(self.resume.trainings)
            try:
                yield
                self.wait()
                self._log_final(state)
                if self.board:
                    self.board.close()
            except KeyboardInterrupt:
                if state.step > self._saved_at[0]:
                    self.save(state)
                self.wait()
                self._say(f"stopped after step {state.step}; the next run goes on from there")
                raise
            except DivergenceError:
                self._say(f"stopped at step {state.step}; the last that was saved is finite")
                raise
            finally:
                self._writer.shutdown()  # before the locks are lifted
                # closed already, or there is another error to tell
                with contextlib.suppress(OSError, InputError):
                    if self.board:
                        self.board.close()

    def _log_final(self, state: TrainState) -> None:
        """The training in TensorBoard's table of trainings, once it is at its end."""
        if self.board:
            origin = self.description["provenance"]
            parts = {"recipe": origin["recipe"], "model": origin["model"], "train": origin["train"]}
            parameters = {f"{p}.{k}": v for p, values in parts.items() for k, v in values.items()}
            figures = training_metrics(state.history, state.draws)
            self.board.parameters(state.step, parameters, figures)

    def is_save_due(self) -> bool:
        return time.monotonic() - self._saved_at[1] >= 60 * self.resume.minutes

    def save(self, state: TrainState, epoch_done: bool = False) -> None:
        """Begin to save; `state` may change at once.

        Args:
            epoch_done: an epoch has just ended: write its outs, and the state only where that is
                due or the training has ended.

        Raises:
            NotFiniteError: something of `state` is NaN or infinite; nothing of it is saved.
            InputError: this save would have to wait for one that has found no room.
        """
        epoch = state.epoch + (not epoch_done)
        require_finite_state(state, epoch, self.description["provenance"])
        try:
            if self.board:
                self.board.flush()
        finally:  # no room for TensorBoard's events is no reason to lose the state
            self.wait()
            weights = state.weights() if epoch_done else None
            tensors = None
            if not epoch_done or self.is_save_due() or state.epoch >= self._epochs:
                self._saved_at = (state.step, time.monotonic())
                tensors = state.tensors()
            self._writing = self._writer.submit(self._write, state.facts(), weights, tensors)

    def _write(
        self,
        facts: dict[str, Any],
        weights: dict[str, Tensor] | None,
        tensors: dict[str, Tensor] | None,
    ) -> None:
        if weights is not None:
            description = {**self.description, "machines": facts["machines"]}
            history, draws = facts["history"], facts["draws"]
            checkpoint = write_epoch(self.outputs, weights, description, history, draws)
            self._checkpoints.append(self.store.add_checkpoint(checkpoint))
        if tensors is not None:
            self.store.save(tensors, facts, self._checkpoints)

    def wait(self) -> None:
        """Until nothing is being written. Raises InputError where that has failed."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def _resume(self, state: TrainState, epochs: int, accelerator: dict[str, Any]) -> None:
        newest = self.store.newest(epochs)
        if newest:
            tensors, facts, self._checkpoints = newest
            state.restore(tensors, facts)
        checkpoints = [self.store.folder / name for name in self._checkpoints[:epochs]]
        history, draws = state.history[:epochs], state.draws[:epochs]
        restore_epochs(self.outputs, checkpoints, history, draws)
        self._saved_at = (state.step, time.monotonic())
        if state.epoch >= epochs:
            self._say(f"all {epochs} epochs were trained before; {FRESH}=1 trains them again")
            return
        if newest:
            self._say(f"goes on after step {state.step}, in epoch {state.epoch + 1} of {epochs}")
        else:
            self._say(f"starts at step 0; {self._why_new()}")
        _note_machine(state, accelerator)
        state.run = state.run or run_name()
        first_step = state.step + (not state.validation_due)
        self.board = TensorBoardLogger(self.outputs.runs / state.run, first_step, state.epoch + 1)
        print(f"train: TensorBoard in {self.board.folder}")
        if not newest:
            self.save(state)
            self.wait()  # before any event, so that a run that follows a kill finds TensorBoard's

    def _why_new(self) -> str:
        if self.fresh:
            return f"{FRESH}=1 asks for it"
        found = self.store.nearest_difference()
        if found is None:
            return "no other training has left a state"
        some, more = found[:_DIFFERENCES], len(found) - _DIFFERENCES
        text = "; ".join([*some, *([f"{more} more"] if more > 0 else [])])
        return f"the training most like it that has left a state differs in {text}"

    def _say(self, text: str) -> None:
        print(f"train: {text} ({self.store.folder})", flush=True)


def _note_machine(state: TrainState, accelerator: dict[str, Any]) -> None:
    """Record what trains from here on; say where it is not what trained before."""
    last = {**state.machines[-1]} if state.machines else {}
    since = last.pop("from_epoch", None)
    if accelerator == last:
        return
    state.machines.append({"from_epoch": state.epoch + 1, **accelerator})
    if since is not None:
        print(
            f"warning: resuming on different hardware ({last}; now {accelerator}): results will "
            "not be bit-identical to a run on one machine",
            file=sys.stderr,
        )
