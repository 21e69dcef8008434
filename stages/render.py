"""Draw what the networks of chosen epochs predict, and what is hardest for the best of them."""

from src.command import parsed_paths, run
from src.config import load_params
from src.data.cache import Cache
from src.data.parts import read_parts
from src.files import replaced_folder
from src.inference.pictures import spaced
from src.memory import keep_freed_memory
from src.model.machine import chosen_machine, make_deterministic
from src.report.predictions import Chosen, draw_epochs, draw_extremes
from src.report.tables import read_table


def main(argv: list[str] | None = None) -> None:
    inputs = ("params", "cache", "split", "epochs", "best", "pictures")
    args = parsed_paths(argv, __doc__, *inputs, "out")
    params = load_params(args.params)
    split, epochs = read_parts(args.split), params.epochs_to_render
    cache, count = Cache(args.cache), params.render.num_pictures
    machine = chosen_machine(params.train.device, params.train.precision)
    make_deterministic()
    keep_freed_memory()
    chosen = Chosen(
        training=spaced(split["train"], count),
        validation=spaced(split["val"], count),
        test=spaced(split["test"], count),
    )
    mious = read_table(args.pictures, "picture", "miou").set_index("picture")["miou"]
    with replaced_folder(args.out) as folder:
        draw_epochs(folder, args.epochs, epochs, params.train.epochs, cache, chosen, machine)
        draw_extremes(folder, args.best, cache, mious.to_dict(), count, machine)
    files = sorted(path.name for path in args.out.iterdir())
    print(f"render: {len(files)} figures in {args.out}: {', '.join(files)}")


if __name__ == "__main__":
    run(main, less_memory="lower render.num_pictures or remap.scale")
