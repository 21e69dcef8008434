"""Check params.yaml, and that device and file it names are there, before DVC removes old outs."""

from src.command import parsed_paths, run
from src.config import load_params
from src.files import InputError, replaced_file, repository_path

MODELS = "models"  # train's out in dvc.yaml; no path of this stage, so not in its command


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "out")
    train = load_params(args.params).train
    if train.start is not None:
        _require_start(train.start)
    several = train.processes > 1
    if several or train.device not in ("auto", "cpu") or train.precision == "bf16":
        # torch takes seconds; else not needed
        from src.model.machine import chosen_machine, require_device_each

        chosen_machine(train.device, train.precision)
        if several:
            require_device_each(train.processes, train.device)
    # Always the same text, so that a changed parameter reruns no stage but those that read it.
    with replaced_file(args.out) as temporary:
        temporary.write_text("params.yaml has been checked\n")
    print(f"check: {args.params} is complete and within range; recipe {train.recipe}")


def _require_start(start: str) -> None:
    """DVC removes the models before it trains, so a start must lie elsewhere."""
    path = repository_path(start)
    if not path.is_file():
        raise InputError(f"train.start: {path}: no such file")
    if path.resolve().is_relative_to(repository_path(MODELS).resolve()):
        raise InputError(f"train.start: {path} is removed before training; copy it out of {MODELS}")


if __name__ == "__main__":
    run(main)
