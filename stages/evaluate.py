"""Judge the best model on the validation pictures: figures, and tables to plot."""

from src.command import parsed_paths, run
from src.config import load_params
from src.data.cache import Cache
from src.data.parts import read_parts
from src.evaluation.bootstrap import SEED, miou_interval
from src.evaluation.calibration import calibration_table
from src.evaluation.details import Details
from src.evaluation.prediction import evaluated
from src.evaluation.tables import by_picture, confusion_pairs, per_class
from src.files import write_json
from src.inference.views import View
from src.memory import keep_freed_memory
from src.model.machine import chosen_machine, joined_machine, make_deterministic
from src.model.weights import load_network
from src.report.tables import rounded, write_table


def main(argv: list[str] | None = None) -> None:
    inputs = ("params", "cache", "split", "model")
    tables = ("confusion", "per-class", "calibration", "pictures")
    args = parsed_paths(argv, __doc__, *inputs, "metrics", *tables)
    params = load_params(args.params)
    cache, val_ids = Cache(args.cache), read_parts(args.split)["val"]
    class_map = cache.class_map()
    make_deterministic()
    keep_freed_memory()
    network, description = load_network(args.model, class_map)
    flips = (False, True) if params.evaluate.flip else (False,)
    with joined_machine(chosen_machine(params.train.device, params.train.precision)) as machine:
        machine.placed(network)
        details = Details(class_map, machine.device)
        evaluation = evaluated(
            network,
            cache,
            val_ids,
            params.evaluate.batch_size,
            machine,
            ignored=description["ignored_class"],
            views=[View(scale, flip) for scale in params.evaluate.scales for flip in flips],
            after_batch=details.add,
        )
        evaluation.require_finite(args.model)
        details.sum_over(machine.processes)
    if not machine.processes.is_first:  # one writes
        return
    low, high = miou_interval(evaluation.confusions, class_map.void_id, SEED)
    figures = {**evaluation.figures(), "miou_low": low, "miou_high": high, **details.figures()}
    table = per_class(class_map, evaluation.confusion, details.boundary_f)
    write_json(args.metrics, {name: rounded(value) for name, value in figures.items()})
    write_table(args.confusion, confusion_pairs(class_map, evaluation.confusion))
    write_table(args.per_class, table)
    write_table(args.calibration, calibration_table(details.calibration))
    write_table(args.pictures, by_picture(class_map, val_ids, evaluation.confusions))
    print(f"evaluate: {args.model} on {len(val_ids)} validation pictures; in {args.metrics}")
    print(table.drop(columns="color").round(4).to_string(index=False, na_rep="absent"))
    print(f"mIoU {figures['miou']:.4f}, 95 % interval {low:.4f} to {high:.4f}")
    print(f"mIoU with void as a class {figures['miou_with_void']:.4f}")
    print(f"cross-entropy {figures['cross_entropy']:.4f}, calibration error {figures['ece']:.4f}")


if __name__ == "__main__":
    run(main, less_memory="lower evaluate.batch_size or remap.scale")
