"""Write a web page of all validation images with masks, predictions and errors.

The page is sorted and filtered by metrics, classes and errors. It is a folder of files that a
browser opens without a server and without a network: open index.html. The predictions are those of
the stage evaluate, with its parameters.
"""

import argparse

from roadseg.inference.options import DEFAULT_MODEL, add_path_options, require_output_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the data, and the output folder."""
    parser.add_argument(
        "--model",
        default=str(DEFAULT_MODEL),
        metavar="MODEL|EXPERIMENT",
        help="model file, or name of a DVC experiment (default: %(default)s)",
    )
    paths = {
        "params": ("params.yaml", "parameters, of which evaluate and train.device are used"),
        "prepared": ("data/prepared", "prepared images and masks"),
        "split": ("data/split.json", "file that lists the validation images"),
        "out": ("gallery", "output folder; an earlier gallery is replaced"),
    }
    add_path_options(parser, paths)


def run(args: argparse.Namespace) -> None:
    """Write the gallery and print the path of its page."""
    from roadseg.config.params import load_params
    from roadseg.data.prepared import PreparedDataset
    from roadseg.data.split_file import read_split
    from roadseg.experiments.model_files import open_models
    from roadseg.models.model_file import load_network
    from roadseg.reporting.gallery import INDEX, require_gallery, write_gallery
    from roadseg.runtime.accelerator import select_accelerator
    from roadseg.runtime.determinism import make_deterministic
    from roadseg.system.memory import keep_freed_memory

    require_output_folder(args.out)
    require_gallery(args.out)
    params, prepared = load_params(args.params), PreparedDataset(args.prepared)
    ids = read_split(args.split).val
    make_deterministic()
    keep_freed_memory()
    accelerator = select_accelerator(params.train.device, params.train.precision)
    with open_models([args.model]) as models:
        network, metadata = load_network(models[args.model], prepared.class_map())
        write_gallery(
            args.out.resolve(),
            network,
            prepared,
            ids,
            accelerator,
            params.evaluate,
            ignored=metadata.ignored_class,
            model=args.model,
        )
    print(f"gallery: {len(ids)} validation images; open {args.out / INDEX} in a browser")
