"""Configure the pipeline for a data set.

The images and masks of a folder or archive (zip, tar) are found by their names, and the encoding
and classes of the masks by their content. Writes params.yaml, classes/NAME.yaml unless the classes
are known, and splits/NAME_val.txt for a predefined split; `dvc repro` then runs. Prints what was
found, and saves a contact sheet of images with masks.
"""

import argparse
import os
import re
from pathlib import Path

from roadseg.system.errors import InputError, escape_unprintable

_PARAMS = Path("params.yaml")
_SUFFIXES = re.compile(r"\.(zip|tar|tgz|tar\.\w+)$", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data set and the options."""
    parser.add_argument("source", metavar="FOLDER|ARCHIVE", help="images with masks or annotations")
    parser.add_argument(
        "--name", help="name of the class map and the contact sheet (default: that of the data set)"
    )
    parser.add_argument(
        "--images", metavar="PATTERN", help="data.images, such as 'photos/{id}.jpg', if you know it"
    )
    parser.add_argument(
        "--masks", metavar="PATTERN", help="data.masks, such as 'labels/{id}.png', if you know it"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the configuration of another data set"
    )


def run(args: argparse.Namespace) -> None:
    """Inspect the data set, write its configuration and print a summary."""
    from roadseg.config.params import load_params
    from roadseg.config.pipeline import require_not_written, stage_outputs
    from roadseg.prepare.discovery.configuration import (
        configure,
        require_no_conflict,
        write_configuration,
    )
    from roadseg.prepare.discovery.files import open_files
    from roadseg.prepare.discovery.inspection import inspect_dataset
    from roadseg.prepare.discovery.summary import summarize
    from roadseg.prepare.fetch.limits import Limits
    from roadseg.reporting.contact_sheet import save_contact_sheet
    from roadseg.system.files import atomic_file

    if not _PARAMS.is_file():
        raise InputError(
            f"{_PARAMS}: no such file; run roadseg init in the root of a project "
            "(roadseg new creates one)"
        )
    if "://" in args.source:
        raise InputError(f"{args.source}: init reads local files; download the data set first")
    params = load_params(_PARAMS)
    require_not_written("data.source", args.source, stage_outputs(Path("dvc.yaml")))
    name, class_maps = _name(args.name, args.source), Path("classes")
    patterns = {"images": args.images, "masks": args.masks}
    with open_files(Path(args.source), Limits.of(params.data)) as files:
        found = inspect_dataset(files, class_maps, params.data.max_pixels, **patterns)
    configuration = configure(found, _source(args.source), name, class_maps, Path("splits"))
    if not args.force:
        require_no_conflict(params, configuration)
    sheet = Path(f"contact-sheet-{name}.png")
    with atomic_file(sheet) as temporary:
        title = f"{name}: images and masks (white: ignored)"
        save_contact_sheet(temporary, title, found.examples, found.classes.class_map)
        write_configuration(_PARAMS, configuration)
    lines = [f"init: {args.source}", *summarize(found, configuration)]
    print(*map(escape_unprintable, lines), sep="\n")
    written = [_PARAMS, *configuration.files, sheet]
    print(f"init: wrote {', '.join(map(str, written))}")
    print("init: look at the contact sheet, then run: dvc repro")


def _source(source: str) -> str:
    """Return data.source: relative to the working directory if it is in there."""
    from roadseg.prepare.fetch.source import LICENSES

    path = Path(os.path.abspath(source))
    if not path.is_relative_to(Path.cwd()):
        return str(path)
    relative = path.relative_to(Path.cwd()).as_posix()
    return f"./{relative}" if relative in LICENSES else relative  # not the built-in source


def _name(name: str | None, source: str) -> str:
    """Return the name that the user chose, or one in lower case for the folder or archive."""
    if name is not None and not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"--name: {name!r} should have only letters, digits, _ and -")
    stem = _SUFFIXES.sub("", os.path.basename(os.path.abspath(source)))
    return name or re.sub(r"\W+", "_", stem).strip("_").lower() or "dataset"
