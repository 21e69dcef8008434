"""Draw what the networks of chosen epochs predict, as the course report shows it."""

from src.config import load_params
from src.data.cache import Cache
from src.files import read_json
from src.memory import keep_freed_memory
from src.model.machine import chosen_machine, make_deterministic
from src.report.predictions import draw_epochs, spaced
from stages.command import parsed_paths, run


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "cache", "split", "epochs", "out")
    params = load_params(args.params)
    split, epochs = read_json(args.split), params.epochs_to_render
    count = params.render.num_pictures
    machine = chosen_machine(params.train.device, params.train.precision)
    make_deterministic()
    keep_freed_memory()
    train_ids, test_ids = spaced(split["train"], count), spaced(split["test"], count)
    draw_epochs(args.out, args.epochs, epochs, Cache(args.cache), train_ids, test_ids, machine)
    print(f"render: epochs {epochs} in {args.out}")


if __name__ == "__main__":
    run(main)
