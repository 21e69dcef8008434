"""Synthetic streets with the classes of a set of photographs."""

import shutil
from pathlib import Path

from roadseg.config.class_map import ClassMap
from roadseg.data.prepared import CLASSES, PreparedDataset
from roadseg.prepare.remap import remap_dataset
from roadseg.system.errors import InputError
from roadseg.system.files import copy_file, read_json, write_json
from streetscenes.dataset import write_dataset

CLASS_NAMES = {
    4: ("void",),  # static
    5: ("void",),  # dynamic
    6: ("void",),  # ground
    7: ("road",),
    8: ("sidewalk", "pavement"),
    9: ("parking", "sidewalk", "pavement"),
    10: ("rail track", "void"),
    11: ("building", "construction"),
    12: ("wall", "building", "construction"),
    13: ("fence", "construction"),
    14: ("guard rail", "fence", "construction"),
    17: ("pole",),
    19: ("traffic light", "traffic sign", "sign"),
    20: ("traffic sign", "sign"),
    21: ("vegetation", "tree"),
    22: ("terrain", "vegetation", "tree"),
    23: ("sky",),
    24: ("person", "human", "pedestrian"),
    25: ("rider", "human", "bicyclist"),
    26: ("car", "vehicle"),
    27: ("truck", "vehicle", "car"),
    28: ("bus", "vehicle", "car"),
    31: ("train", "vehicle", "car"),
    32: ("motorcycle", "cycle", "bicyclist"),
    33: ("bicycle", "cycle", "bicyclist"),
}
"""Names of the class of each label id (Cityscapes') that the generator draws; the first one that a
class map has is used. CamVid's 11 classes, as SegNet merged its 32, are wide: a car is any vehicle
with four wheels, a sign also a traffic light, a building also a wall, a tree also other plants."""


def scene_class_map(photographs: ClassMap) -> ClassMap:
    """Return the classes of `photographs` with the label ids of synthetic scenes.

    Names, order and colors are the same. Label ids without a class are ignored; a class that the
    generator never draws has no label ids.

    Raises:
        InputError: the generator draws fewer than two of the classes.
    """
    ids: dict[str, list[int]] = {name: [] for name in photographs.names}
    ignored: list[int] = []
    for label_id, names in CLASS_NAMES.items():
        name = next((name for name in names if name in ids), None)
        (ignored if name is None else ids[name]).append(label_id)
    if sum(1 for found in ids.values() if found) < 2:
        raise InputError(
            f"classes {', '.join(photographs.names)}: the synthetic streets have fewer than two; "
            "add their names to CLASS_NAMES in benchmarks/scenes.py"
        )
    classes = [
        {"name": entry.name, "color": list(entry.color), "label_ids": ids[entry.name]}
        for entry in photographs.classes
    ]
    return ClassMap.model_validate(
        {
            "void": photographs.void,
            "ignored_label_ids": ignored,
            "unknown_label_ids": "error",
            "classes": classes,
        }
    )


def write_scenes(
    folder: Path, photographs: PreparedDataset, count: int, size: tuple[int, int], seed: int
) -> PreparedDataset:
    """Write `count` prepared scenes with the classes of `photographs`, if they are not there yet.

    The prepared masks have class ids, so the class map of the photographs describes them too, and
    train.start accepts a model of the scenes as one of the same classes.

    Args:
        size: (height, width) in pixels; those of the scenes differ by a few percent.

    Raises:
        InputError: `folder` has other scenes, or the generator draws fewer than two of the classes.
    """
    class_map = scene_class_map(photographs.class_map())
    missing = [entry.name for entry in class_map.classes if not entry.label_ids]
    if missing:
        print(f"the synthetic streets have no {', '.join(missing)}")
    record, prepared = folder / "scenes.json", folder / "prepared"
    height, width = size
    options = {"num_train": count, "height": height, "width": width, "seed": seed}
    wanted = {**options, "classes": class_map.model_dump(mode="json")}
    if not record.exists():
        write_dataset(folder / "raw", num_test=0, **options)
        remap_dataset(folder / "raw", prepared, class_map, 1.0)
        copy_file(photographs.root / CLASSES, prepared / CLASSES)
        write_json(record, wanted)
        shutil.rmtree(folder / "raw")
    elif read_json(record) != wanted:
        raise InputError(f"{folder}: has other scenes; remove it or use another --out")
    return PreparedDataset(prepared)
