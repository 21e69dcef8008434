"""What predicting a picture leaves on disk.

color/NAME.png          the classes in their colours (a palette picture, its indices the class ids)
label_ids/NAME.png      8 bits, the first label id of each class: a mask as KITTI has them
overlay/NAME.jpg        the picture, half covered by the colours
probabilities/NAME.npy  (K, H, W) float16, of each class (where asked for)
classes.json            class id, name, colour and label id of each class

Shapes: K classes, H and W pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from roadseg.config.class_map import ClassMap
from roadseg.data.array_files import save_array
from roadseg.inference.colors import overlay, palette_image
from roadseg.system.files import atomic_file, write_json

COLOR, LABEL_IDS, OVERLAY, PROBABILITIES = "color", "label_ids", "overlay", "probabilities"
_ENDINGS = {COLOR: "png", LABEL_IDS: "png", OVERLAY: "jpg", PROBABILITIES: "npy"}


def write_prediction(
    folder: Path,
    name: str,
    picture: np.ndarray,
    class_map: ClassMap,
    class_ids: np.ndarray,
    probabilities: np.ndarray | None = None,
) -> None:
    """Write what was predicted for one picture; each file is whole or not there.

    Args:
        picture: (H, W, 3) uint8, RGB.
        class_ids: (H, W) uint8.
        probabilities: (K, H, W) float16, 0..1.
    """
    write_label_ids(folder / LABEL_IDS / f"{name}.png", class_ids, class_map)
    with atomic_file(folder / COLOR / f"{name}.png") as path:
        colored = palette_image(class_ids, class_map.colors)
        colored.save(path, format="PNG")
    with atomic_file(folder / OVERLAY / f"{name}.jpg") as path:
        shown = Image.fromarray(overlay(picture, class_ids, class_map.colors))
        shown.save(path, format="JPEG", quality=90, subsampling=0)
    if probabilities is not None:
        with atomic_file(folder / PROBABILITIES / f"{name}.npy") as path:
            save_array(path, probabilities)


def remove_prediction(folder: Path, name: str) -> None:
    """Remove what was written of a picture: an older run's would be taken for this one's."""
    for kind, ending in _ENDINGS.items():
        (folder / kind / f"{name}.{ending}").unlink(missing_ok=True)


def write_label_ids(path: Path, class_ids: np.ndarray, class_map: ClassMap) -> None:
    """Write (H, W) uint8 class ids as a mask of label ids, 8-bit grey PNG."""
    with atomic_file(path) as temporary:
        mask = Image.fromarray(class_map.label_ids()[class_ids])
        mask.save(temporary, format="PNG")


def write_classes(folder: Path, class_map: ClassMap) -> None:
    """Write classes.json."""
    rows = zip(class_map.names, class_map.colors.tolist(), class_map.label_ids(), strict=True)
    described = [
        {"class_id": number, "name": name, "color": color, "label_id": int(label_id)}
        for number, (name, color, label_id) in enumerate(rows)
    ]
    write_json(folder / "classes.json", described)
