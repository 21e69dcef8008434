"""Test whether two models differ significantly, paired by image.

A and B are each a table image_confusions.csv, a folder that contains one, a DVC experiment, a Git
revision, or a model file (.safetensors), which is evaluated on the validation images. For several
seeds: roadseg compare A1 A2 A3 --with B1 B2 B3
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.inference.options import require_output_folder
from roadseg.system.errors import InputError, escape_unprintable

if TYPE_CHECKING:
    from roadseg.config.class_map import ClassMap
    from roadseg.evaluation.comparison import Comparison, Source
    from roadseg.evaluation.image_confusions import ImageConfusions

TABLE = "image_confusions.csv"
OUTPUT = f"plots/{TABLE}"
"""The output of the stage evaluate that is read in experiments and revisions."""
PARAMS, CLASSES = Path("params.yaml"), Path("classes")
PREPARED, SPLIT = Path("data/prepared"), Path("data/split.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the models, --void and --out."""
    parser.add_argument(
        "models", nargs="+", metavar="A", help="A and B, or with --with one A for each seed"
    )
    parser.add_argument(
        "--with",
        nargs="+",
        dest="others",
        metavar="B",
        help="one B for each seed, in the order of A",
    )
    parser.add_argument(
        "--void",
        metavar="CLASS",
        help="class that the metrics exclude; '' for none (default: that of remap.classes in "
        "params.yaml, else void)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also write comparison.csv and comparison.png"
    )


def run(args: argparse.Namespace) -> None:
    """Print the comparison, and write its table and plot."""
    from roadseg.evaluation.comparison import compare

    require_output_folder(args.out)
    a, b = args.models, args.others
    if b is None:
        if len(a) != 2:
            raise InputError(
                f"expected two models, got {len(a)}; for several seeds: "
                "roadseg compare A1 A2 --with B1 B2"
            )
        a, b = a[:1], a[1:]
    for side in (a, b):
        if repeated := next((name for name in side if side.count(name) > 1), None):
            raise InputError(f"{repeated}: given twice on one side; give one model for each seed")
    class_map = _class_map()
    void = class_map.void if class_map else "void"
    sources = {name: _load(name) for name in dict.fromkeys([*a, *b])}
    if args.void is not None:
        void = args.void or None
        found = {name for source in sources.values() for name in source.table.class_names}
        if void not in (None, *found):
            raise InputError(f"--void: no table has {void!r}, only {', '.join(sorted(found))}")
    names = class_map.names if class_map else ()
    comparison = compare([sources[n] for n in a], [sources[n] for n in b], void, names)
    print(_format(comparison, a, b, void))
    if args.out:
        from roadseg.reporting.charts import save_differences
        from roadseg.system.tables import write_table

        args.out.mkdir(parents=True, exist_ok=True)
        write_table(args.out / "comparison.csv", comparison.table)
        save_differences(args.out / "comparison.png", comparison.table, ", ".join(a), ", ".join(b))
        print(f"wrote {args.out / 'comparison.csv'} and {args.out / 'comparison.png'}")


def _format(comparison: "Comparison", a: Sequence[str], b: Sequence[str], void: str | None) -> str:
    excluded = f"; true pixels of the class {void} are excluded" if void else ""
    lines = [
        f"A: {', '.join(a)}",
        f"B: {', '.join(b)}",
        f"paired by image ({comparison.num_images}){excluded}",
        *_format_table(comparison),
        "* the 95 % interval from low to high does not contain 0; the intervals of the classes are",
        "  not adjusted for the number of classes",
    ]
    if comparison.num_differing_masks:
        lines.append(
            f"note: the true pixels of {comparison.num_differing_masks} images are not the same in "
            "all tables, for example because remap.scale differs"
        )
    if comparison.num_seeds == 1:
        covered = "the choice of images, not the seed of the training; for several seeds see --help"
    else:
        covered = f"the choice of images and of the {comparison.num_seeds} seeds"
    lines += [comparison.verdict(), f"the interval covers {covered}"]
    return "\n".join(map(escape_unprintable, lines))


def _format_table(comparison: "Comparison") -> list[str]:
    """Format one line per metric, with aligned columns and - for missing numbers."""
    formats = {"a": ".4f", "b": ".4f", "difference": "+.4f", "low": "+.4f", "high": "+.4f"}
    names = [escape_unprintable(name) for name in comparison.table["metric"]]
    columns = [["", *names]]
    for (key, form), title in zip(formats.items(), ("A", "B", "B - A", "low", "high"), strict=True):
        values = comparison.table[key]
        columns.append([title, *("-" if value != value else f"{value:{form}}" for value in values)])
    width = max(map(len, columns[0]))
    flags = ["", *("*" if flag else "" for flag in comparison.significant())]
    return [
        f"{name:<{width}} {' '.join(f'{cell:>7}' for cell in cells)} {flag}".rstrip()
        for (name, *cells), flag in zip(zip(*columns, strict=True), flags, strict=True)
    ]


def _load(name: str) -> "Source":
    """Read or compute the confusion matrices of the model that the user calls `name`."""
    from roadseg.evaluation.comparison import Source
    from roadseg.evaluation.image_confusions import read_image_confusions

    path = Path(name)
    if path.suffix == ".safetensors":
        return Source(name, _evaluate(path))
    if path.is_dir():
        return Source(name, read_image_confusions(path / TABLE))
    if path.exists() or path.suffix == ".csv":
        return Source(name, read_image_confusions(path))
    from roadseg.experiments.revisions import read_at_revision

    content = read_at_revision(OUTPUT, name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / TABLE
        copy.write_bytes(content)
        try:
            return Source(name, read_image_confusions(copy))
        except InputError as error:
            raise InputError(str(error).replace(str(copy), f"{name}: {OUTPUT}")) from None


def _evaluate(model: Path) -> "ImageConfusions":
    """Evaluate a model file on the validation images, with the parameters of the stage."""
    from roadseg.config.params import load_params
    from roadseg.data.prepared import PreparedDataset
    from roadseg.data.split_file import read_split
    from roadseg.evaluation.image_confusions import ImageConfusions
    from roadseg.evaluation.model_evaluation import evaluate_model
    from roadseg.models.model_file import load_network
    from roadseg.runtime.accelerator import select_accelerator
    from roadseg.runtime.determinism import make_deterministic
    from roadseg.system.memory import keep_freed_memory

    if not PARAMS.is_file():
        raise InputError(
            f"{model}: a model is evaluated on the validation images, but there is no {PARAMS} "
            "here; run this in the repository, or compare tables that roadseg evaluate writes"
        )
    params = load_params(PARAMS)
    prepared, ids = PreparedDataset(PREPARED), read_split(SPLIT).val
    make_deterministic()
    keep_freed_memory()
    network, metadata = load_network(model, prepared.class_map())
    result = evaluate_model(
        network,
        prepared,
        ids,
        select_accelerator(params.train.device, params.train.precision),
        params.evaluate,
        ignored=metadata.ignored_class,
        model=model,
    )
    return ImageConfusions(prepared.class_map().names, ids, result.evaluation.confusions)


def _class_map() -> "ClassMap | None":
    """Read the class map in params.yaml; None outside of a workspace."""
    from roadseg.config.class_map import find_class_map, read_class_map
    from roadseg.config.params import load_params

    if not PARAMS.is_file():
        return None
    return read_class_map(find_class_map(load_params(PARAMS).remap.classes, CLASSES))
