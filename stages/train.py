"""Train the U-Net: a checkpoint an epoch, the best one by validation mIoU, curves and figures."""

from pathlib import Path

from roadseg.config.json_files import read_model
from roadseg.config.params import load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.evaluation.metric_files import TrainingMetrics
from roadseg.provenance.source_code import source_blobs
from roadseg.runtime.accelerator import join_process_group, select_accelerator
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.files import repository_path
from roadseg.training.artifacts import RunPaths
from roadseg.training.checkpointer import Checkpointer
from roadseg.training.null_checkpointer import NullCheckpointer
from roadseg.training.trainer import Trainer


def main(argv: list[str] | None = None) -> None:
    paths = (
        "params",
        "prepared",
        "split",
        "epochs",
        "best",
        "history",
        "metrics",
        "runs",
        "states",
    )
    args = parse_paths(argv, __doc__, *paths)
    params = load_params(args.params)
    outputs = RunPaths(
        epochs=args.epochs,
        best=args.best,
        history=args.history,
        metrics=args.metrics,
        runs=repository_path(args.runs),  # these two stay also where an experiment runs in a copy
        states=repository_path(args.states),
    )
    split, prepared, code = (
        read_split(args.split),
        PreparedDataset(args.prepared),
        source_blobs(Path(__file__)),
    )
    model, train, recipe = params.model, params.train, params.recipe
    with (
        join_process_group(select_accelerator(train.device, train.precision)) as accelerator,
        GracefulShutdown(tells=accelerator.process_group.is_first) as stop,
    ):
        trainer = Trainer(prepared, split, model, train, recipe, code, accelerator)
        print(
            f"train: {train.recipe}, {len(split.train)} pictures, {train.epochs} epochs on "
            f"{accelerator.name()} in {accelerator.precision}"
        )
        if accelerator.process_group.is_first:
            trainer.run(Checkpointer(outputs, trainer.description, params.resume, stop))
        else:
            trainer.run(NullCheckpointer(accelerator.process_group, stop))
    if not accelerator.process_group.is_first:  # one writes
        return
    metrics = read_model(TrainingMetrics, args.metrics)
    print(
        f"train: best epoch {metrics.best_epoch}, val mIoU {metrics.best_val_miou:.4f}, in "
        f"{args.best}; of other draws of these {len(split.val)} pictures "
        f"{metrics.best_epoch_share:.0%} would have chosen it"
    )


if __name__ == "__main__":
    run_main(main, less_memory="lower the recipe's batch_size or model.base_channels")
