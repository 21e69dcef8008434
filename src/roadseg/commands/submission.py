"""Write the zip that KITTI's semantic benchmark takes: roadseg submission

It holds semantic/000000_10.png to semantic/000199_10.png, masks of label ids (8 bits), each of its
picture's own size. Only a model whose classes are the benchmark's can fill it.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from roadseg.config.class_map import ClassMap
from roadseg.inference.image_files import find_images, read_image
from roadseg.inference.options import add_model_options, build_predictor
from roadseg.system.cli import run_main
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file

BENCHMARK = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole"},
    **{19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}
"""Label ids that the benchmark judges, each by itself, and their names."""
NAMES = [f"{number:06d}_10" for number in range(200)]
"""Of the benchmark's test pictures."""
_FOLDER = "semantic"
_DATE = (1980, 1, 1, 0, 0, 0)  # zip's earliest, so that the same masks give the same bytes


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    predictor = build_predictor(args)
    require_benchmark_classes(predictor.class_map, args.model)
    sources = {source.name: source.path for source in find_images([str(args.pictures)])}
    require_benchmark_pictures(set(sources), args.pictures)
    label_ids = benchmark_label_ids(predictor.class_map)
    with atomic_file(args.out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in tqdm(NAMES, "predict", unit="img", leave=False, disable=None):
            picture = read_image(sources[name], sources[name])
            (class_ids,) = predictor.class_ids([picture])
            entry = zipfile.ZipInfo(f"{_FOLDER}/{name}.png", _DATE)
            archive.writestr(entry, _png(label_ids[class_ids]))
    size = args.out.stat().st_size / 1e6
    print(
        f"submission: {len(NAMES)} masks of label ids by {args.model} in {args.out}, {size:.1f} MB"
    )


def require_benchmark_classes(class_map: ClassMap, model: Path) -> None:
    """Raise InputError where the classes do not tell apart what the benchmark does.

    Each of its label ids must be of a class that holds no other of them.
    """
    holders = {label_id for entry in class_map.classes for label_id in entry.label_ids}
    missing = [
        f"{label_id} ({name})" for label_id, name in BENCHMARK.items() if label_id not in holders
    ]
    together = [
        f"{entry.name} holds {', '.join(BENCHMARK[label_id] for label_id in judged)}"
        for entry in class_map.classes
        if len(judged := [i for i in entry.label_ids if i in BENCHMARK]) > 1
    ]
    reasons = together + ([f"no class has label id {', '.join(missing)}"] if missing else [])
    if reasons:
        raise InputError(
            f"{model}: its {class_map.num_classes} classes cannot fill the benchmark's "
            f"{len(BENCHMARK)}: {'; '.join(reasons)}. Train with remap.classes=cityscapes19"
        )


def benchmark_label_ids(class_map: ClassMap) -> np.ndarray:
    """(C,) uint8, what stands for each class in the masks: its label id that is judged, if any."""
    label_ids = class_map.label_ids()
    for class_id, entry in enumerate(class_map.classes):
        judged = [label_id for label_id in entry.label_ids if label_id in BENCHMARK]
        label_ids[class_id] = judged[0] if judged else label_ids[class_id]
    return label_ids


def require_benchmark_pictures(names: set[str], folder: Path) -> None:
    """Raise InputError where these are not the benchmark's test pictures, all and no other."""
    missing, more = sorted(set(NAMES) - names), sorted(names - set(NAMES))
    for kind, some in (("lacks", missing), ("has", more)):
        if some:
            listed = ", ".join(some[:3]) + (", .." if len(some) > 3 else "")
            raise InputError(
                f"{folder}: {kind} {listed} ({len(some)} pictures); the benchmark takes "
                f"{NAMES[0]} to {NAMES[-1]}, {len(NAMES)} pictures"
            )


def _png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roadseg submission",
        description=__doc__.split("\n\n", 1)[1],
        epilog="The benchmark scores no re-implementations by students; those are to be scored on "
        "a split of the training set, as this pipeline does.",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        default=Path("data/raw/testing/image_2"),
        metavar="FOLDER",
        help="the test pictures in their own size (%(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("submission.zip"), metavar="FILE")
    add_model_options(parser)
    return parser


if __name__ == "__main__":
    run_main(main)
