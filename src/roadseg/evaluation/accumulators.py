"""What judging a model asks beyond confusion matrices, gathered while it predicts.

Shapes: N pictures, K classes, H and W pixels.
"""

import numpy as np
import torch
from torch import Tensor

from roadseg.config.class_map import IGNORE_INDEX, ClassMap
from roadseg.evaluation.boundaries import boundary_counts, boundary_f
from roadseg.evaluation.calibration import NUM_BINS, calibration_counts, calibration_error
from roadseg.evaluation.metrics import mean_present
from roadseg.runtime.distributed import ProcessGroup


class Accumulators:
    """Sums over the pictures added so far: boundaries and calibration.

    True void pixels are left out, as in `miou`.
    """

    def __init__(self, class_map: ClassMap, device: torch.device) -> None:
        self.num_classes, self.void_id = class_map.num_classes, class_map.void_id
        whole = {"dtype": torch.int64, "device": device}
        self._boundaries = torch.zeros(4, self.num_classes, **whole)
        self._calibration = torch.zeros(3, NUM_BINS, **whole)

    def add(self, logits: Tensor, class_ids: Tensor, predicted: Tensor) -> None:
        """Count a batch of pictures of one size, without padding.

        Args:
            logits: (N, K, H, W), any float type.
            class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
            predicted: (N, H, W) int64, 0..K-1.
        """
        counted = class_ids != IGNORE_INDEX
        if self.void_id is not None:
            counted &= class_ids != self.void_id
        self._boundaries += boundary_counts(class_ids, predicted, counted, self.num_classes)
        self._calibration += calibration_counts(logits, class_ids, predicted, counted)

    def sum_over(self, process_group: ProcessGroup) -> None:
        """Add what the other processes have counted."""
        process_group.sum(self._boundaries)
        process_group.sum(self._calibration)

    @property
    def calibration(self) -> np.ndarray:
        """(3, M) int64, what `calibration_counts` returns, of all pictures."""
        return self._calibration.cpu().numpy()

    @property
    def boundary_f(self) -> np.ndarray:
        """(K,) float64, the boundary F-score of each class, 0..1 or NaN."""
        return boundary_f(self._boundaries.cpu().numpy(), self.void_id)

    def metrics(self) -> dict[str, float]:
        """ece and boundary_f, the mean over the classes with a boundary.

        0..1; NaN where nothing counts. Without any boundary, boundary_f is not there.
        """
        figures = {"ece": calibration_error(self.calibration)}
        by_class = self.boundary_f
        if not np.isnan(by_class).all():
            figures["boundary_f"] = mean_present(by_class)
        return figures
