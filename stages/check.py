"""Check params.yaml, and the device and files that it names, before a stage deletes old outputs."""

from src.command import parsed_paths, run
from src.config import load_params
from src.files import InputError, replaced_file, repository_path
from src.pipeline import require_not_written, stage_outputs


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "pipeline", "out")
    params = load_params(args.params)
    train, outputs = params.train, stage_outputs(args.pipeline)
    require_not_written("data.source", params.data.source, outputs)
    require_not_written("remap.classes", params.remap.classes, outputs)
    if train.start is not None:
        require_not_written("train.start", train.start, outputs)
        if not (path := repository_path(train.start)).is_file():
            raise InputError(f"train.start: {path}: no such file")
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


if __name__ == "__main__":
    run(main)
