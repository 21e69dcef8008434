"""Train the U-Net: a checkpoint an epoch, the best one by validation mIoU, curves and figures."""

from pathlib import Path

from src.code import code_of
from src.command import parsed_paths, run
from src.config import load_params
from src.data.cache import Cache
from src.data.parts import read_parts
from src.files import read_json, repository_path
from src.model.machine import chosen_machine, joined_machine
from src.training.follower import Follower
from src.training.loop import Trainer
from src.training.outputs import Outputs
from src.training.record import Record
from src.training.stop import Stop


def main(argv: list[str] | None = None) -> None:
    paths = ("params", "cache", "split", "epochs", "best", "history", "metrics", "runs", "states")
    args = parsed_paths(argv, __doc__, *paths)
    params = load_params(args.params)
    outputs = Outputs(
        epochs=args.epochs,
        best=args.best,
        history=args.history,
        metrics=args.metrics,
        runs=repository_path(args.runs),  # these two stay also where an experiment runs in a copy
        states=repository_path(args.states),
    )
    split, cache, code = read_parts(args.split), Cache(args.cache), code_of(Path(__file__))
    model, train, recipe = params.model, params.train, params.recipe
    with (
        joined_machine(chosen_machine(train.device, train.precision)) as machine,
        Stop(tells=machine.processes.is_first) as stop,
    ):
        trainer = Trainer(cache, split, model, train, recipe, code, machine)
        print(
            f"train: {train.recipe}, {len(split['train'])} pictures, {train.epochs} epochs on "
            f"{machine.name()} in {machine.precision}"
        )
        if machine.processes.is_first:
            trainer.run(Record(outputs, trainer.description, params.resume, stop))
        else:
            trainer.run(Follower(machine.processes, stop))
    if not machine.processes.is_first:  # one writes
        return
    figures = read_json(args.metrics)
    print(
        f"train: best epoch {figures['best_epoch']}, val mIoU {figures['best_val_miou']:.4f}, in "
        f"{args.best}; of other draws of these {len(split['val'])} pictures "
        f"{figures['best_epoch_share']:.0%} would have chosen it"
    )


if __name__ == "__main__":
    run(main, less_memory="lower the recipe's batch_size or model.base_channels")
