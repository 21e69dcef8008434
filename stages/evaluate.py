"""Judge the best model on the validation pictures: figures, per-class table, confusion table."""

from src.config import load_params
from src.data.cache import Cache
from src.evaluation.prediction import evaluated
from src.evaluation.tables import confusion_pairs, per_class
from src.files import read_json, write_json
from src.memory import keep_freed_memory
from src.model.machine import chosen_machine, make_deterministic
from src.model.weights import load_network
from src.report.tables import rounded, write_table
from stages.command import parsed_paths, run


def main(argv: list[str] | None = None) -> None:
    paths = ("params", "cache", "split", "model", "metrics", "confusion", "per-class")
    args = parsed_paths(argv, __doc__, *paths)
    params = load_params(args.params)
    cache, val_ids = Cache(args.cache), read_json(args.split)["val"]
    class_map = cache.class_map()
    machine = chosen_machine(params.train.device, params.train.precision)
    make_deterministic()
    keep_freed_memory()
    network, _ = load_network(args.model, class_map)
    machine.placed(network)
    evaluation = evaluated(network, cache, val_ids, params.evaluate.batch_size, machine)
    figures = evaluation.figures()
    table = per_class(class_map, evaluation.confusion)
    write_json(args.metrics, {name: rounded(value) for name, value in figures.items()})
    write_table(args.confusion, confusion_pairs(class_map, evaluation.confusion))
    write_table(args.per_class, table)
    print(f"evaluate: {args.model} on {len(val_ids)} validation pictures")
    print(table.round(4).to_string(index=False, na_rep="absent"))
    print(f"mIoU {figures['miou']:.4f}, cross-entropy {figures['cross_entropy']:.4f}")


if __name__ == "__main__":
    run(main)
