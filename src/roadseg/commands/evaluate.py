"""Evaluate models on annotated images outside of the pipeline.

Prints the metrics of the stage evaluate; on the same images they have the same values. Several
models are evaluated as an ensemble. Images on which a model was trained do not tell how good it is.
The images and masks are copied and converted in a temporary folder (in $TMPDIR), which needs room
for the files and 4 bytes per pixel.
"""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.inference.options import (
    add_model_options,
    model_paths,
    positive_int,
    require_output_folder,
)
from roadseg.system.errors import InputError

if TYPE_CHECKING:
    from roadseg.config.class_map import ClassMap
    from roadseg.config.params import Data

LIMITS = {"max_files": 200_000, "max_gigabytes": 100, "max_ratio": 100, "max_megapixels": 100}
"""As in the section data of params.yaml, like the defaults of the options."""
_OPTIONS = {
    "remap.classes": "--classes",
    "remap.scale": "the model's scale",
    **{f"data.{name}": f"--{name}" for name in ("images", "masks")},
    "data.mask_values": "--mask-values",
    "data.color_tolerance": "--color-tolerance",
    "data.unmasked": "--unmasked",
    "data.max_": "the limit max_",
}
"""Parameters in error messages, and what they are called here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the images and masks, the model options and the output options."""
    for name, example in (("images", "photos/{id}.jpg"), ("masks", "labels/{id}.png")):
        parser.add_argument(
            f"--{name}",
            required=True,
            metavar="PATTERN",
            help=f"like data.{name} in params.yaml, such as {example}",
        )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("."),
        metavar="FOLDER|ARCHIVE",
        help="where the patterns are (default: the working directory)",
    )
    parser.add_argument(
        "--classes",
        metavar="NAME|FILE",
        help="class map of the masks, with the classes of the model (default: the model's own)",
    )
    parser.add_argument("--mask-values", default="ids", choices=("ids", "colors"))
    parser.add_argument("--color-tolerance", type=int, default=0, metavar="N")
    parser.add_argument("--unmasked", default="error", choices=("error", "skip"))
    add_model_options(parser)
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        default=2,
        metavar="N",
        help="images of one size per forward pass (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write evaluate.json, per_class.csv, confusion.csv, calibration.csv, pictures.csv, "
        "image_confusions.csv, and models.json with the provenance of the models",
    )
    parser.add_argument("--json", action="store_true", help="print evaluate.json")


def run(args: argparse.Namespace) -> None:
    """Evaluate the models, and print or write the metrics."""
    from roadseg.config.params import Evaluate
    from roadseg.evaluation.annotated_images import prepare_annotated_images
    from roadseg.evaluation.model_evaluation import evaluate_model
    from roadseg.inference.ensemble import (
        combine,
        join_names,
        load_models,
        write_model_records,
    )
    from roadseg.runtime.accelerator import select_accelerator
    from roadseg.runtime.determinism import make_deterministic
    from roadseg.system.memory import keep_freed_memory

    paths = model_paths(args)
    require_output_folder(args.out)
    accelerator = select_accelerator(args.device, args.precision, prefix="--")
    make_deterministic()
    keep_freed_memory()
    networks, (metadata, *others) = load_models(paths)
    with _name_options():
        class_map = _class_map(args.classes, metadata.classes, paths[0])
        with prepare_annotated_images(_data(args), class_map, metadata.scale) as prepared:
            result = evaluate_model(
                combine(networks),
                prepared,
                prepared.train_ids(),
                accelerator,
                Evaluate(batch_size=args.batch_size, flip=args.tta, scales=[1.0]),
                ignored=metadata.ignored_class,
                model=join_names(paths),
            )
    if args.out is not None:
        names = ("confusion", "per_class", "calibration", "pictures", "image_confusions")
        tables = {name: args.out / f"{name}.csv" for name in names}
        result.write(metrics=args.out / "evaluate.json", **tables)
        write_model_records(args.out / "models.json", paths, [metadata, *others])
    if args.json:
        values = result.metrics.model_dump(exclude_unset=True)
        print(json.dumps(values, indent=2, sort_keys=True))
        return
    target = f"; metrics in {args.out}" if args.out else ""
    print(f"evaluate: {join_names(paths)} on {len(result.ids)} images{target}")
    print(result.summary())


def _data(args: argparse.Namespace) -> "Data":
    """Build the section data of params.yaml from the options."""
    from roadseg.config.params import Data
    from roadseg.config.schema import validate

    if not args.data.exists():
        raise InputError(f"--data: {args.data}: no such file or directory")
    options = {name: vars(args)[name] for name in ("images", "masks", "mask_values", "unmasked")}
    options |= {"color_tolerance": args.color_tolerance, "source": str(args.data.absolute())}
    unset = dict.fromkeys(("sha256", "test_images", "test_masks", "test_ids"))
    others = {**unset, "max_downloads_gigabytes": 1}
    try:
        return validate(Data, {**options, **LIMITS, **others})
    except InputError as error:
        raise InputError(f"data.{error}") from None


def _class_map(name: str | None, trained: "ClassMap", model: Path) -> "ClassMap":
    """Read the class map of the masks; it must have the class names of the model."""
    from roadseg.commands.new.project_files import project_root
    from roadseg.config.class_map import find_class_map, read_class_map
    from roadseg.inference.ensemble import first_difference

    if name is None:
        return trained
    folder = Path("classes")
    path = find_class_map(name, folder if folder.is_dir() else project_root() / folder)
    found = read_class_map(path)
    names, own_names = (
        {"classes": [{"name": text} for text in classes.names], "void": classes.void}
        for classes in (found, trained)
    )
    if difference := first_difference(names, own_names):
        raise InputError(f"{path}: {difference} as in {model}; its classes should be the model's")
    return found


@contextlib.contextmanager
def _name_options() -> Iterator[None]:
    """Replace the names of parameters in error messages by those of options."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for parameter, option in _OPTIONS.items():
            text = text.replace(parameter, option)
        raise InputError(text) from None
