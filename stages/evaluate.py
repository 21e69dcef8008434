"""Evaluate the best model on the validation images: metrics, and tables to plot."""

from roadseg.config.params import load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.evaluation.model_evaluation import evaluate_model
from roadseg.models.model_file import load_network
from roadseg.runtime.accelerator import join_process_group, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.memory import keep_freed_memory


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    inputs = ("params", "prepared", "split", "model")
    tables = ("confusion", "per-class", "calibration", "pictures", "image-confusions")
    args = parse_paths(argv, __doc__, *inputs, "metrics", *tables)
    params = load_params(args.params)
    prepared, val_ids = PreparedDataset(args.prepared), read_split(args.split).val
    make_deterministic()
    keep_freed_memory()
    network, metadata = load_network(args.model, prepared.class_map())
    with join_process_group(
        select_accelerator(params.train.device, params.train.precision)
    ) as accelerator:
        result = evaluate_model(
            network,
            prepared,
            val_ids,
            accelerator,
            params.evaluate,
            ignored=metadata.ignored_class,
            model=args.model,
        )
    if not accelerator.process_group.is_first:  # only rank 0 writes
        return
    result.write(
        metrics=args.metrics,
        confusion=args.confusion,
        per_class=args.per_class,
        calibration=args.calibration,
        pictures=args.pictures,
        image_confusions=args.image_confusions,
    )
    print(f"evaluate: {args.model} on {len(val_ids)} validation images; metrics in {args.metrics}")
    print(result.summary())


if __name__ == "__main__":
    run_main(main, less_memory="lower evaluate.batch_size or remap.scale")
