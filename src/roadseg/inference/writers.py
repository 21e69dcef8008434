"""Result files of `roadseg predict`.

color/NAME.png          palette image in the colors of the classes; the indices are the class ids
label_ids/NAME.png      mask in the format of KITTI, with the first label id of each class; of
                        16 bits if one of them is above 255, otherwise 8
overlay/NAME.jpg        mean of the image and the colors of the classes
probabilities/NAME.npy  (K, H, W) float16, probability of each class (optional)
classes.json            class id, name, color and label id of each class
models.json             path, SHA-256, epoch, validation mIoU and seed of each model

Shapes: K classes, H and W pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from roadseg.config.class_map import ClassMap
from roadseg.data.array_files import save_array
from roadseg.inference.colors import overlay, palette_image
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, read_json, write_json

COLOR, LABEL_IDS, OVERLAY, PROBABILITIES = "color", "label_ids", "overlay", "probabilities"
CLASSES, MODELS = "classes.json", "models.json"
_SUFFIXES = {COLOR: "png", LABEL_IDS: "png", OVERLAY: "jpg", PROBABILITIES: "npy"}
_CLASS_KEYS = {"class_id", "name", "color", "label_id"}
"""Keys of an entry of classes.json."""


def write_prediction(
    folder: Path,
    name: str,
    image: np.ndarray,
    class_map: ClassMap,
    class_ids: np.ndarray,
    probabilities: np.ndarray | None = None,
) -> None:
    """Write the results for one image; each file is written atomically.

    Args:
        image: (H, W, 3) uint8, RGB.
        class_ids: (H, W) uint8.
        probabilities: (K, H, W) float16, 0..1; None removes those of an earlier run.
    """
    write_label_ids(folder / LABEL_IDS / f"{name}.png", class_ids, class_map)
    with atomic_file(folder / COLOR / f"{name}.png") as path:
        colored = palette_image(class_ids, class_map.colors)
        colored.save(path, format="PNG")
    with atomic_file(folder / OVERLAY / f"{name}.jpg") as path:
        mixed = Image.fromarray(overlay(image, class_ids, class_map.colors))
        mixed.save(path, format="JPEG", quality=90, subsampling=0)
    array = folder / PROBABILITIES / f"{name}.npy"
    if probabilities is None:
        array.unlink(missing_ok=True)
        return
    with atomic_file(array) as path:
        save_array(path, probabilities)


def remove_prediction(folder: Path, name: str) -> None:
    """Remove the results of an earlier run for one image, so that they do not look current."""
    for kind, suffix in _SUFFIXES.items():
        (folder / kind / f"{name}.{suffix}").unlink(missing_ok=True)


def is_result(path: Path, out: Path | None) -> bool:
    """Check whether `path`, with links resolved, is a result in the output folder `out`."""
    if out is None:
        return False
    path, out = path.resolve(), out.resolve()
    return any(path.is_relative_to(out / name) for name in (*_SUFFIXES, CLASSES, MODELS))


def require_own_results(out: Path) -> None:
    """Raise InputError if a folder or file in `out` is named like a result, but is not one.

    Its files would be skipped as input, and could be overwritten.
    """
    if not _is_list_of_classes(out / CLASSES):
        for kind in (*_SUFFIXES, MODELS, CLASSES):
            if (out / kind).exists():
                raise InputError(
                    f"{out / kind}: exists, but predict did not write it (there is no {CLASSES} "
                    "of predict in this folder), and it could be overwritten; use another --out"
                )


def _is_list_of_classes(path: Path) -> bool:
    """Check whether `write_classes` may have written the file `path`."""
    try:
        entries = read_json(path)
    except (InputError, IsADirectoryError):
        return False
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and entry.keys() == _CLASS_KEYS for entry in entries
    )


def write_label_ids(path: Path, class_ids: np.ndarray, class_map: ClassMap) -> None:
    """Write (H, W) uint8 class ids as a mask of label ids, a grayscale PNG of 8 or 16 bits."""
    with atomic_file(path) as temporary:
        mask = Image.fromarray(class_map.label_ids()[class_ids])
        mask.save(temporary, format="PNG")


def write_classes(folder: Path, class_map: ClassMap) -> None:
    """Write classes.json."""
    rows = zip(class_map.names, class_map.colors.tolist(), class_map.label_ids(), strict=True)
    classes = [
        {"class_id": number, "name": name, "color": color, "label_id": int(label_id)}
        for number, (name, color, label_id) in enumerate(rows)
    ]
    write_json(folder / CLASSES, classes)
