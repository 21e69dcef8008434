"""Draw what the network of chosen epochs predicts, as the course report shows it."""

from src.config import load_params
from src.data.cache import Cache
from src.files import read_json
from src.model.machine import chosen_machine, make_deterministic
from src.model.weights import epoch_file, load_network
from src.report.predictions import draw_test, draw_training, spaced
from stages.command import parsed_paths, run


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "cache", "split", "epochs", "out")
    params = load_params(args.params)
    cache, split, count = Cache(args.cache), read_json(args.split), params.render.num_pictures
    train_ids, test_ids = spaced(split["train"], count), spaced(split["test"], count)
    machine = chosen_machine(params.train.device, params.train.precision)
    make_deterministic()
    for epoch in params.epochs_to_render:
        network, _ = load_network(epoch_file(args.epochs, epoch), cache.class_map())
        machine.placed(network)
        name, title = f"epoch_{epoch:03d}", f"after epoch {epoch}"
        path = args.out / f"{name}_training.png"
        draw_training(path, f"Training pictures {title}", network, cache, train_ids, machine)
        if test_ids:
            path = args.out / f"{name}_test.png"
            draw_test(path, f"Test pictures {title}", network, cache, test_ids, machine)
    print(f"render: epochs {params.epochs_to_render} in {args.out}")


if __name__ == "__main__":
    run(main)
