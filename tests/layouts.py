"""Builders of miniature data sets in the directory layouts and encodings of public ones.

Each builder writes six to nine images of 48x64 pixels with the same simple street scenes: a sky
above a road, a building and a car. The colors of an image depend on the class, so that a network
learns something. Everything is a function of the image's number.

`python -m tests.layouts camvid_original datasets/street` writes one of them.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
SKY, BUILDING, ROAD, CAR = range(4)
NAMES = ("sky", "building", "road", "car")
IMAGE_COLORS = np.array([(120, 170, 230), (150, 80, 60), (95, 95, 100), (210, 40, 50)])
CAMVID_32 = {
    **{"Animal": (64, 128, 64), "Archway": (192, 0, 128), "Bicyclist": (0, 128, 192)},
    **{"Bridge": (0, 128, 64), "Building": (128, 0, 0), "Car": (64, 0, 128)},
    **{"CartLuggagePram": (64, 0, 192), "Child": (192, 128, 64), "Column_Pole": (192, 192, 128)},
    **{"Fence": (64, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    **{"Misc_Text": (128, 128, 64), "MotorcycleScooter": (192, 0, 192)},
    **{"OtherMoving": (128, 64, 64), "ParkingBlock": (64, 192, 128), "Pedestrian": (64, 64, 0)},
    **{"Road": (128, 64, 128), "RoadShoulder": (128, 128, 192), "Sidewalk": (0, 0, 192)},
    **{"SignSymbol": (192, 128, 128), "Sky": (128, 128, 128), "SUVPickupTruck": (64, 128, 192)},
    **{"TrafficCone": (0, 0, 64), "TrafficLight": (0, 64, 64), "Train": (192, 64, 128)},
    **{"Tree": (128, 128, 0), "Truck_Bus": (192, 128, 192), "Tunnel": (64, 0, 64)},
    **{"VegetationMisc": (192, 192, 0), "Void": (0, 0, 0), "Wall": (64, 192, 0)},
}
CAMVID_COLORS = tuple(CAMVID_32[name] for name in ("Sky", "Building", "Road", "Car"))
CAMVID_IDS = (0, 1, 3, 8)
CITYSCAPES_IDS = (23, 11, 7, 26)
CITYSCAPES_COLORS = ((70, 130, 180), (70, 70, 70), (128, 64, 128), (0, 0, 142))
ADE20K_NAMES = (
    *("wall", "building, edifice", "sky", "floor, flooring", "tree", "ceiling", "road, route"),
    *("bed", "windowpane, window", "grass", "cabinet", "sidewalk, pavement", "person", "earth"),
    *("door", "table", "mountain, mount", "plant", "curtain", "chair", "car, auto, automobile"),
)
ADE20K_IDS = (3, 2, 7, 21)


class Rectangle(NamedTuple):
    """The pixels of one object; later rectangles cover earlier ones."""

    class_id: int
    x0: int
    y0: int
    x1: int
    """The first column right of it."""
    y1: int
    """The first row below it."""

    @property
    def points(self) -> list[list[int]]:
        """Its corners as [x, y]."""
        return [[self.x0, self.y0], [self.x1, self.y0], [self.x1, self.y1], [self.x0, self.y1]]


def make_rectangles(number: int) -> list[Rectangle]:
    """The scene `number`, from back to front; together they cover the image."""
    horizon, shift = 18 + number % 5, 3 * (number % 7)
    return [
        Rectangle(SKY, 0, 0, WIDTH, horizon),
        Rectangle(ROAD, 0, horizon, WIDTH, HEIGHT),
        Rectangle(BUILDING, 4 + shift, 6, 20 + shift, horizon + 6),
        Rectangle(CAR, 40 - shift, horizon + 8, 56 - shift, horizon + 18),
    ]


def make_classes(number: int) -> np.ndarray:
    """Classes of the scene `number`, (48, 64) uint8."""
    classes = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for class_id, x0, y0, x1, y1 in make_rectangles(number):
        classes[y0:y1, x0:x1] = class_id
    return classes


def make_points(number: int) -> list[tuple[int, int]]:
    """Row and column of a pixel well inside of each class of the scene `number`."""
    *_, building, car = make_rectangles(number)
    return [(3, 60), (10, building.x0 + 6), (45, 30), (car.y0 + 5, car.x0 + 8)]


def write_image(path: Path, number: int) -> None:
    """Write the photograph of the scene `number` in the format of the suffix of `path`."""
    noise = np.random.default_rng(number).integers(-12, 13, (HEIGHT, WIDTH, 3))
    photo = (IMAGE_COLORS[make_classes(number)] + noise).clip(0, 255).astype(np.uint8)
    _save(path, photo, quality=95)


def write_ids(
    path: Path, number: int, ids: Sequence[int], frame: int | None = None, dtype: type = np.uint8
) -> None:
    """Write a grayscale mask; the outermost pixels have the label id `frame`, if there is one."""
    _save(path, _ids(number, ids, frame, dtype))


def write_colors(path: Path, number: int, colors: Sequence[Sequence[int]]) -> None:
    """Write a mask whose pixels have the colors of their classes: RGB, or RGBA with 4 values."""
    _save(path, np.array(colors, dtype=np.uint8)[make_classes(number)])


def write_palette(
    path: Path, number: int, ids: Sequence[int], colors: Mapping[int, Sequence[int]], frame: int
) -> None:
    """Write a palette mask with `ids` as indices, and `colors` by index."""
    image = Image.fromarray(_ids(number, ids, frame, np.uint8)).convert("P")
    palette = np.zeros((256, 3), dtype=np.uint8)
    for index, color in colors.items():
        palette[index] = color
    image.putpalette(palette.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_text(path: Path, text: str) -> None:
    """Write `text` in a folder that need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def voc_color(index: int) -> tuple[int, int, int]:
    """The color of a palette index in VOC: the bits of the index, spread over the channels."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return (channels[0], channels[1], channels[2])


def _ids(number: int, ids: Sequence[int], frame: int | None, dtype: type) -> np.ndarray:
    mask = np.array(ids, dtype=dtype)[make_classes(number)]
    if frame is not None:
        mask[[0, -1]] = frame
        mask[:, [0, -1]] = frame
    return mask


def _save(path: Path, array: np.ndarray, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def _splits(**counts: int) -> Iterator[tuple[str, int]]:
    """Number images through the splits: ("train", 0), ("train", 1), ..., ("val", 5), ..."""
    splits = [split for split, count in counts.items() for _ in range(count)]
    return ((split, number) for number, split in enumerate(splits))


def write_kitti(root: Path) -> None:
    for number in range(6):
        name = f"{number:06d}_10.png"
        write_image(root / "training/image_2" / name, number)
        write_ids(root / "training/semantic" / name, number, CITYSCAPES_IDS, frame=4)
        write_colors(root / "training/semantic_rgb" / name, number, CITYSCAPES_COLORS)
        instances = [256 * label_id for label_id in CITYSCAPES_IDS]
        write_ids(root / "training/instance" / name, number, instances, dtype=np.uint16)
    for number in range(6, 8):
        write_image(root / "testing/image_2" / f"{number:06d}_10.png", number)


def write_cityscapes(root: Path) -> None:
    """Cityscapes; the masks of its test images say nothing, as in the public data set."""
    cities = {"train": ("aachen", "bochum"), "val": ("lindau",), "test": ("berlin",)}
    for split, number in _splits(train=4, val=2, test=2):
        city = cities[split][number % len(cities[split])]
        stem = f"{split}/{city}/{city}_{number:06d}_000019"
        write_image(root / f"leftImg8bit/{stem}_leftImg8bit.png", number)
        gt, ids = f"{root}/gtFine/{stem}_gtFine", (0,) * 4 if split == "test" else CITYSCAPES_IDS
        colors = [(*color, 255) for color in CITYSCAPES_COLORS]
        write_ids(Path(f"{gt}_labelIds.png"), number, ids, frame=1)
        write_colors(Path(f"{gt}_color.png"), number, colors)
        instances = [1000 * label_id for label_id in ids]
        write_ids(Path(f"{gt}_instanceIds.png"), number, instances, dtype=np.uint16)
        write_text(Path(f"{gt}_polygons.json"), '{"imgHeight": 48, "imgWidth": 64, "objects": []}')


def write_camvid_segnet(root: Path) -> None:
    lines: dict[str, list[str]] = {}
    for split, number in _splits(train=5, val=2, test=2):
        drive = ("0001TP", "0006R0", "0016E5")[number % 3]
        name = f"{drive}_{number:06d}.png"
        write_image(root / split / name, number)
        write_ids(root / f"{split}annot" / name, number, CAMVID_IDS, frame=11)
        folder = f"/SegNet/CamVid/{split}"
        lines.setdefault(split, []).append(f"{folder}/{name} {folder}annot/{name}\n")
    for split, texts in lines.items():
        write_text(root / f"{split}.txt", "".join(texts))


def write_camvid_original(root: Path) -> None:
    """CamVid as published: masks in 32 colors."""
    for number in range(7):
        name = f"{('0001TP', 'Seq05VD')[number % 2]}_{number:06d}"
        write_image(root / f"701_StillsRaw_full/{name}.png", number)
        write_colors(root / f"LabeledApproved_full/{name}_L.png", number, CAMVID_COLORS)
    lines = [f"{r} {g} {b}\t{name}\n" for name, (r, g, b) in CAMVID_32.items()]
    write_text(root / "label_colors.txt", "".join(lines))


def write_camvid_kaggle(root: Path) -> None:
    for split, number in _splits(train=5, val=2, test=2):
        write_image(root / f"{split}/0001TP_{number:06d}.png", number)
        mask = root / f"{split}_labels/0001TP_{number:06d}_L.png"
        write_colors(mask, number, CAMVID_COLORS)
    lines = [f"{name},{r},{g},{b}\n" for name, (r, g, b) in CAMVID_32.items()]
    write_text(root / "class_dict.csv", "name,r,g,b\n" + "".join(lines))


def write_voc(root: Path) -> None:
    """VOC: palette masks with a border of 255, for six of nine images; car is 7, person 15."""
    colors = {index: voc_color(index) for index in range(256)}
    names = [f"2007_{number:06d}" for number in range(9)]
    for number, name in enumerate(names):
        write_image(root / f"JPEGImages/{name}.jpg", number)
        write_text(root / f"Annotations/{name}.xml", "<annotation><object/></annotation>")
        if number < 6:
            mask = root / f"SegmentationClass/{name}.png"
            write_palette(mask, number, (0, 15, 0, 7), colors, 255)
            mask = root / f"SegmentationObject/{name}.png"
            write_palette(mask, number, (0, 1, 0, 2), colors, 255)
    lists = {"train": names[:4], "val": names[4:6], "trainval": names[:6]}
    for split, ids in lists.items():
        write_text(root / f"ImageSets/Segmentation/{split}.txt", "\n".join(ids) + "\n")
    write_text(root / "ImageSets/Main/train.txt", "\n".join(names[:7]) + "\n")


def write_ade20k(root: Path) -> None:
    folders = {"training": "train", "validation": "val"}
    for split, number in _splits(training=5, validation=2):
        stem = f"{split}/ADE_{folders[split]}_{number + 1:08d}"
        write_image(root / f"images/{stem}.jpg", number)
        write_ids(root / f"annotations/{stem}.png", number, ADE20K_IDS, frame=0)
    lines = [f"{i}\t0.1\t10\t2\t1\t{name}\n" for i, name in enumerate(ADE20K_NAMES, 1)]
    write_text(root / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n" + "".join(lines))
    write_text(root / "sceneCategories.txt", "ADE_train_00000001 street\n")


def _coco(numbers: Mapping[int, str], categories: Mapping[int, int]) -> dict[str, Any]:
    """COCO annotations of images by number and file name; `categories` by class."""
    images = [
        {"id": 100 + number, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for number, name in numbers.items()
    ]
    annotations: list[dict[str, Any]] = []
    for number in numbers:
        for rectangle in make_rectangles(number):
            if rectangle.class_id in categories:
                flat = [value for point in rectangle.points for value in point]
                x0, y0, x1, y1 = rectangle[1:]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 100 + number,
                        "category_id": categories[rectangle.class_id],
                        "segmentation": [flat],
                        "area": (x1 - x0) * (y1 - y0),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "iscrowd": 0,
                    }
                )
    named = [
        {"id": category_id, "name": NAMES[class_id], "supercategory": "none"}
        for class_id, category_id in categories.items()
    ]
    return {"images": images, "annotations": annotations, "categories": named}


def write_coco(root: Path) -> None:
    """COCO; the ids of its categories have gaps, and one mask is a run-length encoding."""
    names: dict[str, dict[int, str]] = {}
    for split, number in _splits(train=5, val=2):
        name = f"{number:012d}.jpg"
        write_image(root / f"{split}2017" / name, number)
        names.setdefault(split, {})[number] = name
    for split, numbers in names.items():
        content = _coco(numbers, {ROAD: 3, BUILDING: 6, CAR: 9})
        last = content["annotations"][-1]
        last["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": _run_lengths(max(numbers))}
        last["iscrowd"] = 1
        write_text(root / f"annotations/instances_{split}2017.json", json.dumps(content))
        captions = {"images": content["images"], "annotations": [{"id": 1, "caption": "a street"}]}
        write_text(root / f"annotations/captions_{split}2017.json", json.dumps(captions))


def _run_lengths(number: int) -> list[int]:
    """Run lengths of the car of the scene `number`, column by column, from pixels outside it."""
    flat = (make_classes(number) == CAR).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    return np.diff([0, *changes.tolist(), flat.size]).tolist()


def write_roboflow_coco(root: Path) -> None:
    """COCO as exported by Roboflow, with a category 0 that no object has."""
    names: dict[str, dict[int, str]] = {}
    for split, number in _splits(train=5, valid=2, test=2):
        name = f"street{number}_jpg.rf.{number:032x}.jpg"
        write_image(root / split / name, number)
        names.setdefault(split, {})[number] = name
    for split, numbers in names.items():
        content = _coco(numbers, {ROAD: 2, CAR: 1})
        content["categories"].append({"id": 0, "name": "streets", "supercategory": "none"})
        write_text(root / f"{split}/_annotations.coco.json", json.dumps(content))
    write_text(root / "README.roboflow.txt", "streets - v1\n")


def write_labelme(root: Path) -> None:
    for number in range(6):
        write_image(root / f"street_{number}.jpg", number)
        shapes = [
            {
                "label": NAMES[rectangle.class_id],
                "points": [rectangle.points[0], rectangle.points[2]]
                if rectangle.class_id == CAR
                else rectangle.points,
                "shape_type": "rectangle" if rectangle.class_id == CAR else "polygon",
                "group_id": None,
                "flags": {},
            }
            for rectangle in make_rectangles(number)
        ]
        content = {
            **{"version": "5.4.1", "flags": {}, "shapes": shapes, "imageData": None},
            **{"imagePath": f"street_{number}.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH},
        }
        write_text(root / f"street_{number}.json", json.dumps(content))


def write_cvat_xml(root: Path) -> None:
    """CVAT for images 1.1."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    colors = zip(NAMES, ("#4682b4", "#464646", "#804080", "#00008e"), strict=True)
    labels = "".join(f"<label><name>{n}</name><color>{c}</color></label>" for n, c in colors)
    lines.append(f"  <meta><task><id>1</id><labels>{labels}</labels></task></meta>")
    for number in range(6):
        name = f"street_{number}.jpg"
        write_image(root / "images" / name, number)
        lines.append(f'  <image id="{number}" name="{name}" width="{WIDTH}" height="{HEIGHT}">')
        for i, rectangle in enumerate(make_rectangles(number)):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in rectangle.points)
            label = f'label="{NAMES[rectangle.class_id]}" source="manual" occluded="0"'
            lines.append(f'    <polygon {label} points="{points}" z_order="{i}"></polygon>')
        lines.append("  </image>")
    write_text(root / "annotations.xml", "\n".join([*lines, "</annotations>", ""]))


def write_cvat_masks(root: Path) -> None:
    """CVAT's "segmentation mask 1.1": colors, and black where nothing is annotated."""
    colors = ((0, 0, 0), (250, 50, 83), (128, 64, 128), (0, 0, 142))
    for number in range(6):
        write_image(root / f"JPEGImages/street_{number}.jpg", number)
        write_colors(root / f"SegmentationClass/street_{number}.png", number, colors)
        write_colors(root / f"SegmentationObject/street_{number}.png", number, colors[::-1])
    names = "".join(f"street_{number}\n" for number in range(6))
    write_text(root / "ImageSets/Segmentation/default.txt", names)
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{NAMES[i]}:{','.join(map(str, colors[i]))}::" for i in (BUILDING, ROAD, CAR)]
    write_text(root / "labelmap.txt", "\n".join(lines) + "\n")


def write_yolo(root: Path) -> None:
    """YOLO segmentation: one text file per image, coordinates as fractions of the image."""
    classes = {ROAD: 0, BUILDING: 1, CAR: 2}
    for split, number in _splits(train=5, val=2):
        write_image(root / f"images/{split}/street_{number}.jpg", number)
        lines = []
        for rectangle in make_rectangles(number):
            if rectangle.class_id in classes:
                points = [f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in rectangle.points]
                lines.append(f"{classes[rectangle.class_id]} {' '.join(points)}\n")
        write_text(root / f"labels/{split}/street_{number}.txt", "".join(lines))
    names = [NAMES[class_id] for class_id in classes]
    text = f"path: .\ntrain: images/train\nval: images/val\n\nnc: 3\nnames: {json.dumps(names)}\n"
    write_text(root / "data.yaml", text)


def write_same_folder(root: Path) -> None:
    for number in range(6):
        write_image(root / f"street {number}.png", number)
        write_ids(root / f"street {number}_mask.png", number, (0, 1, 2, 3))


def write_nested(root: Path) -> None:
    """Sequences whose file names repeat."""
    for sequence in range(3):
        for frame in range(3):
            number = 3 * sequence + frame
            name = f"{frame:06d}.png"
            write_image(root / f"seq{sequence}/Images/{name}", number)
            write_ids(root / f"seq{sequence}/Labels/{name}", number, (0, 1, 2, 3))


def write_binary(root: Path) -> None:
    """One class in white on black; a crack, a road, a lesion."""
    for number in range(6):
        write_image(root / f"images/street_{number}.jpg", number)
        write_ids(root / f"masks/street_{number}.png", number, (0, 0, 255, 0))


def write_gray_as_rgb(root: Path) -> None:
    """Label ids in RGB, each in all three channels; 255 is ignored."""
    colors = [(label_id,) * 3 for label_id in (2, 1, 0, 255)]
    for number in range(6):
        write_image(root / f"images/street_{number}.jpg", number)
        write_colors(root / f"labels/street_{number}.png", number, colors)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "kitti": write_kitti,
    "cityscapes": write_cityscapes,
    "camvid_segnet": write_camvid_segnet,
    "camvid_original": write_camvid_original,
    "camvid_kaggle": write_camvid_kaggle,
    "voc": write_voc,
    "ade20k": write_ade20k,
    "coco": write_coco,
    "roboflow_coco": write_roboflow_coco,
    "labelme": write_labelme,
    "cvat_xml": write_cvat_xml,
    "cvat_masks": write_cvat_masks,
    "yolo": write_yolo,
    "same_folder": write_same_folder,
    "nested": write_nested,
    "binary": write_binary,
    "gray_as_rgb": write_gray_as_rgb,
}
"""Writer of each layout into an empty folder."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("folder", type=Path, help="empty or missing")
    args = parser.parse_args()
    LAYOUTS[args.layout](args.folder)
