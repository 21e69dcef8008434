"""Running sums for the boundary F-score and the expected calibration error.

Shapes: N images, K classes, H and W pixels, M calibration bins.
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
    """Boundary and calibration counts of all images added so far.

    Pixels whose true class is void are excluded, as in `miou`.
    """

    def __init__(self, class_map: ClassMap, device: torch.device) -> None:
        self.num_classes, self.void_id = class_map.num_classes, class_map.void_id
        self._boundaries = torch.zeros(4, self.num_classes, dtype=torch.int64, device=device)
        self._calibration = torch.zeros(3, NUM_BINS, dtype=torch.int64, device=device)

    def add(self, logits: Tensor, class_ids: Tensor, predicted: Tensor) -> None:
        """Add the counts of a batch of images of one size, without padding.

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
        """Sum the counts over all ranks of `process_group`, in place."""
        process_group.sum(self._boundaries)
        process_group.sum(self._calibration)

    @property
    def calibration(self) -> np.ndarray:
        """`calibration_counts` of all images, (3, M) int64."""
        counts: np.ndarray = self._calibration.cpu().numpy()
        return counts

    @property
    def boundary_f(self) -> np.ndarray:
        """Boundary F-score of each class, (K,) float64, 0..1 or NaN."""
        return boundary_f(self._boundaries.cpu().numpy(), self.void_id)

    def metrics(self) -> dict[str, float]:
        """Compute `ece` (NaN if no pixel counts) and `boundary_f`, both 0..1.

        `boundary_f` is the mean over the classes with a boundary; it is omitted if there is none.
        """
        metrics = {"ece": calibration_error(self.calibration)}
        by_class = self.boundary_f
        if not np.isnan(by_class).all():
            metrics["boundary_f"] = mean_present(by_class)
        return metrics
