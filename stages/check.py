"""Validate params.yaml, its device and its files before any stage deletes old outputs."""

from roadseg.config.params import load_params
from roadseg.config.pipeline import require_not_written, stage_outputs
from roadseg.system.cli import parse_paths, run_main
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, repository_path


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = parse_paths(argv, __doc__, "params", "pipeline", "out")
    params = load_params(args.params)
    train, outputs = params.train, stage_outputs(args.pipeline)
    require_not_written("data.source", params.data.source, outputs)
    require_not_written("remap.classes", params.remap.classes, outputs)
    if params.split.val_ids_file is not None:
        require_not_written("split.val_ids", params.split.val_ids_file, outputs)
    for key, name in (("train.start", train.start), ("model.weights", params.model.weights_path)):
        if name is not None:
            require_not_written(key, name, outputs)
            if not (path := repository_path(name)).is_file():
                raise InputError(f"{key}: {path}: no such file")
    if params.model.architecture != "unet":
        # imported only if needed: torch takes seconds
        from roadseg.models.registry import build_network

        build_network(params.model.architecture, {"num_classes": 2, **params.model.network_options})
    several = train.processes > 1
    if several or train.device not in ("auto", "cpu") or train.precision == "bf16":
        from roadseg.runtime.accelerator import require_device_per_process, select_accelerator

        select_accelerator(train.device, train.precision)
        if several:
            require_device_per_process(train.processes, train.device)
    # Always the same text, so that a changed parameter reruns only the stages that depend on it.
    with atomic_file(args.out) as temporary:
        temporary.write_text("params.yaml has been checked\n")
    print(f"check: {args.params} is valid; recipe {train.recipe}")


if __name__ == "__main__":
    run_main(main)
