"""Train the U-Net: a checkpoint an epoch, the best one by validation mIoU, curves and figures."""

from src.config import load_params
from src.data.cache import Cache
from src.files import read_json, repository_path
from src.report.board import run_folder
from src.training.loop import Trainer
from src.training.outputs import Outputs, best_epoch
from stages.command import parsed_paths, run


def main(argv: list[str] | None = None) -> None:
    paths = ("params", "cache", "split", "epochs", "best", "history", "metrics", "runs")
    args = parsed_paths(argv, __doc__, *paths)
    params = load_params(args.params)
    outputs = Outputs(
        epochs=args.epochs,
        best=args.best,
        history=args.history,
        metrics=args.metrics,
        runs=run_folder(repository_path(args.runs)),  # kept also where an experiment runs in a copy
    )
    split = read_json(args.split)
    trainer = Trainer(Cache(args.cache), split, params.model, params.train, params.recipe)
    machine = trainer.machine
    print(
        f"train: {params.train.recipe}, {len(split['train'])} pictures, {params.train.epochs} "
        f"epochs on {machine.device} in {machine.precision}; TensorBoard in {outputs.runs}"
    )
    history = trainer.run(outputs)
    best = history[best_epoch(history) - 1]
    print(f"train: best epoch {best['epoch']}, val mIoU {best['val_miou']:.4f}, in {args.best}")


if __name__ == "__main__":
    run(main)
