"""Check params.yaml, and that the device it names is there, before DVC removes any old out."""

from src.config import load_params
from stages.command import parsed_paths, run


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "out")
    train = load_params(args.params).train
    if train.device not in ("auto", "cpu") or train.precision == "bf16":
        from src.model.machine import chosen_machine  # torch takes seconds; else not needed

        chosen_machine(train.device, train.precision)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # Always the same text, so that a changed parameter reruns no stage but those that read it.
    args.out.write_text("params.yaml has been checked\n")


if __name__ == "__main__":
    run(main)
