"""Evaluate the best model on the validation images: metrics, and tables to plot."""

from roadseg.config.json_files import write_model
from roadseg.config.params import load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.bootstrap import SEED, miou_interval
from roadseg.evaluation.calibration import calibration_table
from roadseg.evaluation.evaluate import evaluate
from roadseg.evaluation.metric_files import EvaluationMetrics
from roadseg.evaluation.tables import confusion_pairs, per_class, per_image
from roadseg.inference.tta import View
from roadseg.models.model_file import load_network
from roadseg.runtime.accelerator import join_process_group, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.memory import keep_freed_memory
from roadseg.system.tables import round_significant, write_table


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    inputs = ("params", "prepared", "split", "model")
    tables = ("confusion", "per-class", "calibration", "pictures")
    args = parse_paths(argv, __doc__, *inputs, "metrics", *tables)
    params = load_params(args.params)
    prepared, val_ids = PreparedDataset(args.prepared), read_split(args.split).val
    class_map = prepared.class_map()
    make_deterministic()
    keep_freed_memory()
    network, metadata = load_network(args.model, class_map)
    flips = (False, True) if params.evaluate.flip else (False,)
    with join_process_group(
        select_accelerator(params.train.device, params.train.precision)
    ) as accelerator:
        accelerator.to_device(network)
        details = Accumulators(class_map, accelerator.device)
        evaluation = evaluate(
            network,
            prepared,
            val_ids,
            params.evaluate.batch_size,
            accelerator,
            ignored=metadata.ignored_class,
            views=[View(scale, flip) for scale in params.evaluate.scales for flip in flips],
            after_batch=details.add,
        )
        evaluation.require_finite(args.model)
        details.sum_over(accelerator.process_group)
    if not accelerator.process_group.is_first:  # only rank 0 writes
        return
    low, high = miou_interval(evaluation.confusions, class_map.void_id, SEED)
    values = {**evaluation.metrics(), "miou_low": low, "miou_high": high, **details.metrics()}
    metrics = EvaluationMetrics(**{key: round_significant(v) for key, v in values.items()})
    table = per_class(class_map, evaluation.confusion, details.boundary_f)
    write_model(args.metrics, metrics)
    write_table(args.confusion, confusion_pairs(class_map, evaluation.confusion))
    write_table(args.per_class, table)
    write_table(args.calibration, calibration_table(details.calibration))
    write_table(args.pictures, per_image(class_map, val_ids, evaluation.confusions))
    print(f"evaluate: {args.model} on {len(val_ids)} validation images; metrics in {args.metrics}")
    print(table.drop(columns="color").round(4).to_string(index=False, na_rep="absent"))
    print(f"mIoU {metrics.miou:.4f}, 95 % interval {low:.4f} to {high:.4f}")
    print(f"mIoU with void as a class {metrics.miou_with_void:.4f}")
    print(f"cross-entropy {metrics.cross_entropy:.4f}, calibration error {metrics.ece:.4f}")


if __name__ == "__main__":
    run_main(main, less_memory="lower evaluate.batch_size or remap.scale")
