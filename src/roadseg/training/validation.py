"""Validation while training."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.bootstrap import SEED, miou_draws
from roadseg.evaluation.evaluate import evaluate
from roadseg.reporting.panels import comparison_panels
from roadseg.runtime.accelerator import Accelerator
from roadseg.training.metrics import Validation


class Validator:
    """Evaluates a network on the validation images.

    Args:
        ignored: a class that is not trained; the cross-entropy leaves its pixels out.
    """

    def __init__(
        self,
        prepared: PreparedDataset,
        ids: Sequence[str],
        batch_size: int,
        accelerator: Accelerator,
        ignored: int | None,
    ) -> None:
        self.prepared, self.ids, self.batch_size = prepared, ids, batch_size
        self.accelerator, self.ignored = accelerator, ignored
        self.class_map = prepared.class_map()

    def validate(
        self, network: nn.Module, learning_rate: float, before_batch: Callable[[], None]
    ) -> Validation:
        """Compute the metrics of `network`.

        Args:
            learning_rate: of the step before; it is recorded.
            before_batch: called before each batch; may raise to give up.
        """
        evaluation = evaluate(
            network,
            self.prepared,
            self.ids,
            self.batch_size,
            self.accelerator,
            ignored=self.ignored,
            before_batch=before_batch,
        )
        draws = miou_draws(evaluation.confusions, evaluation.void_id, SEED).tolist()
        return Validation(
            evaluation.cross_entropy, evaluation.figures()["miou"], draws, learning_rate
        )

    def panels(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Return image, mask, prediction and their comparison for the first validation image."""
        return comparison_panels(network, self.prepared, self.ids[0], self.accelerator)
