"""Train the network: a model per epoch, the best by validation mIoU, history and metrics."""

from pathlib import Path

from roadseg.config.json_files import read_model
from roadseg.config.params import load_params
from roadseg.config.plan_file import apply_plan
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.evaluation.metric_files import TrainingMetrics
from roadseg.provenance.source_code import source_blobs
from roadseg.runtime.accelerator import join_process_group, select_accelerator
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.files import repository_path
from roadseg.training.checkpointer import Checkpointer, NullCheckpointer, RunPaths
from roadseg.training.logger import TrainingLogger
from roadseg.training.setup import build_trainer


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    outputs = ("epochs", "best", "history", "metrics", "runs", "states")
    args = parse_paths(argv, __doc__, "params", "prepared", "split", "weights", "plan", *outputs)
    params = apply_plan(load_params(args.params), args.plan)
    run_paths = RunPaths(
        epochs=args.epochs,
        best=args.best,
        history=args.history,
        metrics=args.metrics,
        runs=repository_path(args.runs),  # in the main repository, see repository_path
        states=repository_path(args.states),
    )
    split, prepared = read_split(args.split), PreparedDataset(args.prepared)
    model, train, recipe = params.model, params.train, params.recipe
    with (
        join_process_group(select_accelerator(train.device, train.precision)) as accelerator,
        GracefulShutdown(verbose=accelerator.process_group.is_first) as stop,
    ):
        code = source_blobs(Path(__file__))
        trainer = build_trainer(
            prepared, split, model, train, recipe, code, accelerator, args.weights
        )
        print(
            f"train: {train.recipe}, {len(split.train)} images, {train.epochs} epochs on "
            f"{accelerator.name()} in {accelerator.precision}"
        )
        if not accelerator.process_group.is_first:  # only rank 0 writes
            null = NullCheckpointer(accelerator.process_group)
            trainer.run(null, TrainingLogger(), stop)
            return
        checkpointer = Checkpointer(run_paths, trainer.metadata, params.resume, train.epochs)
        trainer.run(checkpointer, TrainingLogger(run_paths.runs), stop)
    metrics = read_model(TrainingMetrics, args.metrics)
    print(
        f"train: best epoch {metrics.best_epoch}, val mIoU {metrics.best_val_miou:.4f}, in "
        f"{args.best}; {metrics.best_epoch_share:.0%} of the bootstrap draws of the "
        f"{len(split.val)} validation images would choose it"
    )


if __name__ == "__main__":
    run_main(main, less_memory="lower the recipe's batch_size or choose a smaller network")
