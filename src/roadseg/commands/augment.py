"""Draw a contact sheet of training images with the random changes of a recipe."""

import argparse

from roadseg.inference.options import add_path_options, positive_int

_LARGEST = 20
"""Most images, and most epochs, that a page has room for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipe, the data, and the output options."""
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="recipe of params.yaml (default: train.recipe)"
    )
    paths = {
        "params": ("params.yaml", "parameters with the recipes"),
        "prepared": ("data/prepared", "prepared images and masks"),
        "split": ("data/split.json", "training and validation images"),
        "out": ("augmentation.png", "image to write"),
    }
    add_path_options(parser, paths)
    for name, count in (("images", 4), ("epochs", 5)):
        parser.add_argument(
            f"--{name}",
            type=positive_int,
            default=count,
            metavar="N",
            help=f"number of {name}, up to {_LARGEST} (default: %(default)s)",
        )


def run(args: argparse.Namespace) -> None:
    """Write the contact sheet."""
    from roadseg.config.params import load_params
    from roadseg.data.prepared import PreparedDataset
    from roadseg.data.split_file import read_split
    from roadseg.reporting.augmentation_sheet import save_augmentation_sheet
    from roadseg.system.errors import InputError

    params = load_params(args.params)
    if args.recipe:
        if args.recipe not in params.recipes:
            known = ", ".join(params.recipes)
            raise InputError(f"{args.params}: no recipe {args.recipe!r}; recipes has {known}")
        train = params.train.model_copy(update={"recipe": args.recipe})
        params = params.model_copy(update={"train": train})
    prepared, ids = PreparedDataset(args.prepared), read_split(args.split).train
    num_images, num_epochs = min(args.images, _LARGEST), min(args.epochs, _LARGEST)
    save_augmentation_sheet(args.out, params, prepared, ids, num_images, num_epochs)
    print(f"augment: recipe {params.train.recipe}, {num_epochs} epochs, in {args.out}")
