"""Zip file for a submission to the KITTI semantic segmentation benchmark."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from roadseg.config.class_map import ClassMap
from roadseg.inference.image_files import find_images, read_image
from roadseg.inference.predictor import Predictor
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file

BENCHMARK = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole"},
    **{19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}
"""Label ids and names of the classes that the benchmark evaluates."""
NAMES = [f"{number:06d}_10" for number in range(200)]
"""Names of the test images of the benchmark, without suffix."""
_FOLDER = "semantic"
_DATE = (1980, 1, 1, 0, 0, 0)  # fixed (the earliest of zip), so that equal masks give equal bytes


def write_submission(predictor: Predictor, folder: Path, out: Path) -> None:
    """Predict the test images of the benchmark in `folder` and write the zip file `out`.

    Raises:
        InputError: the images in `folder` are not those of the benchmark.
    """
    sources = {source.name: source.path for source in find_images([str(folder)])}
    require_benchmark_images(set(sources), folder)
    label_ids = benchmark_label_ids(predictor.class_map)
    with atomic_file(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in tqdm(NAMES, "predict", unit="img", leave=False, disable=None):
            image = read_image(sources[name], sources[name])
            (class_ids,) = predictor.class_ids([image])
            entry = zipfile.ZipInfo(f"{_FOLDER}/{name}.png", _DATE)
            archive.writestr(entry, _png(label_ids[class_ids]))


def require_benchmark_classes(class_map: ClassMap, model: Path) -> None:
    """Raise InputError unless each label id of the benchmark is in a separate class."""
    assigned = {label_id for entry in class_map.classes for label_id in entry.label_ids}
    missing = [
        f"{label_id} ({name})" for label_id, name in BENCHMARK.items() if label_id not in assigned
    ]
    merged = [
        f"{entry.name} contains {', '.join(BENCHMARK[label_id] for label_id in evaluated)}"
        for entry in class_map.classes
        if len(evaluated := [i for i in entry.label_ids if i in BENCHMARK]) > 1
    ]
    reasons = merged + ([f"no class has label id {', '.join(missing)}"] if missing else [])
    if reasons:
        raise InputError(
            f"{model}: its {class_map.num_classes} classes do not cover the benchmark's "
            f"{len(BENCHMARK)}: {'; '.join(reasons)}. Train with remap.classes=cityscapes19"
        )


def benchmark_label_ids(class_map: ClassMap) -> np.ndarray:
    """Label id to write for each class, (K,) uint8: the evaluated one, if it has one."""
    label_ids = class_map.label_ids()
    for class_id, entry in enumerate(class_map.classes):
        evaluated = [label_id for label_id in entry.label_ids if label_id in BENCHMARK]
        label_ids[class_id] = evaluated[0] if evaluated else label_ids[class_id]
    return label_ids


def require_benchmark_images(names: set[str], folder: Path) -> None:
    """Raise InputError unless `names` are exactly those of the test images."""
    missing, extra = sorted(set(NAMES) - names), sorted(names - set(NAMES))
    for kind, some in (("lacks", missing), ("has", extra)):
        if some:
            listed = ", ".join(some[:3]) + (", .." if len(some) > 3 else "")
            raise InputError(
                f"{folder}: {kind} {listed} ({len(some)} images); the benchmark needs exactly "
                f"the {len(NAMES)} images {NAMES[0]} to {NAMES[-1]}"
            )


def _png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()
