"""Evaluation of a model with all metrics and tables that are reported about it.

Shapes: P images, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import nn

from roadseg.config.class_map import ClassMap
from roadseg.config.json_files import write_model
from roadseg.config.params import Evaluate
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.bootstrap import SEED, miou_interval
from roadseg.evaluation.calibration import calibration_table
from roadseg.evaluation.evaluate import Evaluation, evaluate
from roadseg.evaluation.image_confusions import write_image_confusions
from roadseg.evaluation.metric_files import EvaluationMetrics
from roadseg.evaluation.tables import confusion_pairs, per_class, per_image
from roadseg.inference.tta import list_views
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.tables import round_significant, write_table


@dataclass(frozen=True, kw_only=True)
class ModelEvaluation:
    """Metrics and tables of a model on a set of images."""

    class_map: ClassMap
    ids: Sequence[str]
    """Names of the P images."""
    evaluation: Evaluation
    accumulators: Accumulators

    @cached_property
    def metrics(self) -> EvaluationMetrics:
        """Metrics, rounded to 6 significant digits."""
        low, high = miou_interval(self.evaluation.confusions, self.class_map.void_id, SEED)
        values = {**self.evaluation.metrics(), "miou_low": low, "miou_high": high}
        values |= self.accumulators.metrics()
        return EvaluationMetrics(**{key: round_significant(v) for key, v in values.items()})

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Metrics of each class, see `tables.per_class`."""
        confusion = self.evaluation.confusion
        return per_class(self.class_map, confusion, self.accumulators.boundary_f)

    def write(
        self,
        *,
        metrics: Path,
        confusion: Path,
        per_class: Path,
        calibration: Path,
        pictures: Path,
        image_confusions: Path,
    ) -> None:
        """Write the metrics as JSON and the tables as CSV to these files."""
        class_map, confusions = self.class_map, self.evaluation.confusions
        write_model(metrics, self.metrics)
        write_table(confusion, confusion_pairs(class_map, self.evaluation.confusion))
        write_table(per_class, self.per_class)
        write_table(calibration, calibration_table(self.accumulators.calibration))
        write_table(pictures, per_image(class_map, self.ids, confusions))
        write_image_confusions(image_confusions, class_map, self.ids, confusions)

    def summary(self) -> str:
        """Format the metrics of each class and the most important metrics for a terminal."""
        metrics, table = self.metrics, self.per_class.drop(columns="color").round(4)
        low, high = metrics.miou_low, metrics.miou_high
        lines = [
            table.to_string(index=False, na_rep="absent"),
            f"mIoU {metrics.miou:.4f}, 95 % interval {low:.4f} to {high:.4f}",
            f"mIoU with void as a class {metrics.miou_with_void:.4f}",
            f"cross-entropy {metrics.cross_entropy:.4f}, calibration error {metrics.ece:.4f}",
        ]
        return "\n".join(lines)


def evaluate_model(
    network: nn.Module,
    prepared: PreparedDataset,
    ids: Sequence[str],
    accelerator: Accelerator,
    options: Evaluate,
    *,
    ignored: int | None,
    model: Path | str,
) -> ModelEvaluation:
    """Evaluate `network`, which is moved to the device, on the images `ids`.

    It may be an Ensemble.

    All ranks of the process group of `accelerator` must call it; each returns the same result.

    Args:
        options: batch size and test-time augmentation.
        ignored: class that was not trained; the cross-entropy excludes its pixels.
        model: file of the network, or names of several, for error messages.

    Raises:
        InputError: as `evaluate`, and if the cross-entropy is not finite.
    """
    accelerator.to_device(network)
    accumulators = Accumulators(prepared.class_map(), accelerator.device)
    evaluation = evaluate(
        network,
        prepared,
        ids,
        options.batch_size,
        accelerator,
        ignored=ignored,
        views=list_views(options.scales, options.flip),
        after_batch=accumulators.add,
    )
    evaluation.require_finite(model)
    accumulators.sum_over(accelerator.process_group)
    return ModelEvaluation(
        class_map=prepared.class_map(), ids=ids, evaluation=evaluation, accumulators=accumulators
    )
