"""Hostile annotation files: COCO, LabelMe, YOLO and CVAT."""

import base64
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from tests.fuzz import png
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import check_prepared_data
from tests.fuzz.mutation import (
    ODD_WORDS,
    mutate_bytes,
    mutate_text,
    mutate_value,
    truncate_bytes,
)
from tests.fuzz.texts import encode_yaml
from tests.fuzz.workspace import FETCH, REMAP, params, write_old_outputs
from tests.prepare.annotations.grids import CLASS_MAP

SIZES = {"train/a.png": (32, 48), "train/b.png": (33, 40)}
COUNTS = "T14m0O01RU1"  # 36 4 29 3 29 4 1215
SQUARE = [4, 4, 20, 4, 20, 15.5, 4, 15.5]
COCO = {
    "images": [
        {"id": i, "file_name": name, "height": size[0], "width": size[1]}
        for i, (name, size) in enumerate(SIZES.items())
    ],
    "categories": [{"id": 1, "name": "car", "supercategory": ""}, {"id": 2, "name": "tree"}],
    "annotations": [
        {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [SQUARE, [0, 0, 9, 0, 9, 9]]},
        {"id": 2, "image_id": 1, "category_id": 2, "segmentation": [SQUARE], "bbox": [1, 2, 3, 4]},
        {
            "id": 3,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 1,
            "segmentation": {"size": [33, 40], "counts": [36, 4, 29, 3, 1248]},
        },
        {
            "id": 4,
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"size": [33, 40], "counts": COUNTS},
        },
    ],
}
MASK = png.join_chunks(png.make_chunks(np.eye(2, dtype=int)[..., None], 0, 8, interlaced=False))
LABELME = {
    "version": "5.5.0",
    "flags": {},
    "shapes": [
        {"label": "car", "points": [[4, 4], [20, 4], [20, 15.5]], "shape_type": "polygon"},
        {"label": "tree", "points": [[4, 4], [20, 15.5]], "shape_type": "rectangle", "flags": {}},
        {"label": "van", "points": [[14, 14], [20, 14]], "shape_type": "circle"},
        {
            "label": "car",
            "points": [[2, 1], [3, 2]],
            "shape_type": "mask",
            "mask": base64.b64encode(MASK).decode(),
        },
    ],
    "imagePath": "a.png",
    "imageData": None,
    "imageHeight": 32,
    "imageWidth": 48,
}
IMAGE = "train/a.png"
YOLO = "1 0.1 0.1 0.5 0.1 0.25 1\n2 0 0 1 0 1 1 0 1\n0 0.25 0.25 0.5 0.25 0.5 0.75\n"
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>1</id><name>a &amp; b</name></task></meta>
<image id="0" name="train/a.png" width="48" height="32">
<polygon label="car" occluded="0" points="4.00,4.00;20.00,4.00;20.00,15.50" z_order="1"></polygon>
<box label="tree" xtl="4.0" ytl="4.0" xbr="20.0" ybr="15.5" rotation="30.0" z_order="0"></box>
<ellipse label="van" cx="14.0" cy="14.0" rx="6.0" ry="3.0" z_order="0"></ellipse>
<mask label="car" rle="1, 2, 1" left="3" top="1" width="2" height="2" z_order="2"></mask>
</image><image id="1" name="b.png" width="40" height="33"></image></annotations>
"""
HUGE = (1e300, -1e300, 2**31, -(2**31), 2**63, 1e9, 5000, -5000, 1e-320)
NAN, INF = float("nan"), float("inf")
NAMES = (
    *("../a.png", "/etc/passwd", "C:\\a.png", "train/../train/a.png", "a.png", "b.png", "", "."),
    *("train\\a.png", "TRAIN/a.png", "a.png\x00", "a\n.png", "\x1b[31m.png", "x" * 5000, "é.png"),
    *("train/a.png/", "//a.png", "./train/a.png", "\ud800.png", "a.png/..", "~/a.png"),
)


def make_case(work: Path, name: str, content: bytes, *image_names: str) -> Case:
    """Build a case of fetch, then remap, with an annotation file that describes these images."""
    for image_name in image_names:
        height, width = SIZES[image_name]
        path = work / "set" / image_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height)).save(path)
    (work / "set" / name).write_bytes(content)
    write_yaml(work / "classes.yaml", CLASS_MAP.model_dump())
    masks = name.replace("/a.", "/{id}.")
    changed = {"source": "set", "images": "train/{id}.png", "masks": masks, "test_images": None}
    remap = {"classes": "classes.yaml", "scale": 1}
    data = {**params()["data"], **changed}
    write_yaml(work / "params.yaml", {**params(), "data": data, "remap": remap})
    write_old_outputs(work, "data/raw/", "data/prepared/", "plots/frequency.csv")

    def check() -> None:
        check_prepared_data(work, CLASS_MAP.num_classes, len(image_names))

    return Case([FETCH, REMAP], (name, masks), check)


def write_yaml(path: Path, value: object) -> None:
    """Write JSON, which is also YAML and faster to write."""
    path.write_text(json.dumps(value), encoding="utf-8")


def make_polygon(rng: random.Random) -> Any:
    """Return coordinates of any number and size, some of which are valid."""
    kind = rng.randrange(8)
    count = rng.choice((rng.randrange(10), 6, 8, 20, 200))
    points: list[Any] = [round(rng.uniform(-10, 40), rng.randrange(4)) for _ in range(count)]
    if kind == 0:
        points = [0, 1] * rng.choice((100_001, 100_001, 1_000_000))
    elif kind == 1:
        points = [rng.choice((-30, 60)) for _ in range(2 * rng.choice((1000, 100_000)))]
    elif kind == 2:
        points = [value + rng.choice((1000, -1000, 48, -40)) for value in points]
    elif kind == 3 and points:
        points[rng.randrange(count)] = rng.choice((NAN, INF, -INF, *HUGE))
    elif kind == 4 and points:
        points[rng.randrange(count)] = rng.choice((None, "1", True, [], {}, 10**400))
    return points


def make_run_lengths(rng: random.Random) -> dict[str, Any]:
    """Return run lengths that may not fill their image."""
    size = rng.choice(([33, 40], [33, 40], [33, 40], [40, 33], [10**9, 10**9], [-1, 5], [], [20]))
    counts: Any = [rng.randrange(40) for _ in range(rng.randrange(40))]
    kind = rng.randrange(7)
    if kind in (0, 5, 6):
        counts = [*counts[:20], 1320 - sum(counts[:20])]
    elif kind == 1:
        counts = rng.choice(([10**18], [2**32 + 1320], [-1320, 2640], [0] * 1000 + [1320], []))
    elif kind == 2:
        counts = "".join(chr(rng.randrange(48, 112)) for _ in range(rng.randrange(60)))
    elif kind == 3:
        counts = rng.choice(("", "o" * 5000, COUNTS[:-1], "\x00", "é", "0" * 100_000))
    elif kind == 4:
        counts = [*counts, rng.choice((None, 1.5, "1", NAN))]
    return {"size": size, "counts": counts}


def to_json(rng: random.Random, value: Any) -> bytes:
    """Encode a value, and rarely damage the text."""
    data = encode_yaml(rng, value)
    return rng.choice((mutate_bytes, truncate_bytes))(rng, data) if rng.random() < 0.1 else data


def mutate_coco(rng: random.Random, work: Path) -> Case:
    return make_case(work, "c.json", to_json(rng, mutate_value(rng, COCO)), *SIZES)


def replace_coco_shapes(rng: random.Random, work: Path) -> Case:
    value = copy.deepcopy(COCO)
    for _ in range(rng.randint(1, 2)):
        entry = rng.choice(value["annotations"])
        if rng.random() < 0.5:
            entry["segmentation"] = [make_polygon(rng) for _ in range(rng.randint(0, 2))]
        else:
            entry |= {"image_id": 1, "segmentation": make_run_lengths(rng)}
    if rng.random() < 0.3:
        rng.choice(value["images"])["file_name"] = rng.choice(NAMES)
    return make_case(work, "c.json", to_json(rng, value), *SIZES)


def use_odd_json(rng: random.Random, work: Path) -> Case:
    """Use deep, repeated, endless or binary JSON instead of annotations, or around them."""
    texts = (
        *("", "null", "[]", "{}", "[" * 200_000, '{"a":' * 200_000, '{"images": [], "images": []}'),
        *('{"shapes": []}', '{"shapes": {}, "shapes": 1}', "9" * 10_000, '{"a": 1e999}', "NaN"),
        *(f'{{"images": {"[" * 900}{"]" * 900}}}', '"\\ud800"', "\x00", "{'a': 1}", "\ufeff{}"),
        *(f'{{"x": {json.dumps(COCO)}}}', f"{json.dumps(COCO)}{json.dumps(COCO)}"),
        *('{"images": [], "categories": [], "annotations": []}', '{"shapes": "x"}', "[1, 2"),
    )
    data = rng.choice(texts).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        data = json.dumps(COCO).encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))
    if rng.random() < 0.3:
        return make_case(work, "train/a.json", data, IMAGE)
    return make_case(work, "c.json", data, *SIZES)


def mutate_labelme(rng: random.Random, work: Path) -> Case:
    value = copy.deepcopy(LABELME)
    if rng.random() < 0.5:
        points = make_polygon(rng)
        pairs = [points[i : i + 2] for i in range(0, len(points), 2)]
        rng.choice(value["shapes"])["points"] = pairs
    else:
        value = mutate_value(rng, value)
    return make_case(work, "train/a.json", to_json(rng, value), IMAGE)


def mutate_yolo(rng: random.Random, work: Path) -> Case:
    lines = YOLO.splitlines()
    at = rng.randrange(len(lines))
    words = lines[at].split()
    if rng.random() < 0.3:
        words[1:] = [str(value) for value in make_polygon(rng)]
    for _ in range(rng.randint(0, 2)):
        odd = ("nan", "-inf", "1e400", "1e-400", "0x1", "1_0", "٣", "-0", "2", "-1", "9" * 5000)
        words[rng.randrange(len(words))] = rng.choice((*odd, *ODD_WORDS))
    del words[rng.choice((len(words), len(words), rng.randrange(len(words) + 1))) :]
    lines[at] = " ".join(words)
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return make_case(
        work, "train/a.txt", mutate_text(rng, YOLO) if rng.random() < 0.2 else data, IMAGE
    )


def mutate_cvat(rng: random.Random, work: Path) -> Case:
    """Change attributes and elements of the tree."""
    root = ElementTree.fromstring(CVAT)
    for _ in range(rng.randint(1, 3)):
        element = rng.choice(list(root.iter()))
        if element.attrib and rng.random() < 0.8:
            element.set(rng.choice(list(element.attrib)), "".join(_odd_attribute(rng)))
        elif rng.random() < 0.5:
            element.tag = rng.choice(
                ("polyline", "points", "cuboid", "tag", "image", "box", "mask")
            )
        else:
            element.append(copy.deepcopy(rng.choice(list(root.iter()))))
    data = ElementTree.tostring(root, encoding=rng.choice(("utf-8", "utf-8", "utf-16")))
    return make_case(work, "c.xml", data, *SIZES)


def _odd_attribute(rng: random.Random) -> Iterator[str]:
    kind = rng.randrange(4)
    if kind == 0:
        points = [f"{value}" for value in make_polygon(rng)]
        yield ";".join(",".join(points[i : i + 2]) for i in range(0, len(points), 2))
    elif kind == 1:
        yield str(rng.choice((*HUGE, NAN, INF, "", "1,2", "-1", "0", "1_0", "é", "9" * 5000)))
    elif kind == 2:
        counts = make_run_lengths(rng)["counts"]
        yield ", ".join(map(str, counts)) if isinstance(counts, list) else ""
    else:
        name = rng.choice(NAMES)
        yield "".join(c for c in name if c.isprintable())


ENTITIES = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
DOCTYPES = (
    f'<!DOCTYPE a [<!ENTITY a0 "ha">{ENTITIES}]>',
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd">',
    '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///dev/zero">%p;]>',
)


def use_odd_xml(rng: random.Random, work: Path) -> Case:
    """Use entities, deep nesting and damaged XML."""
    start, end = CVAT.split("<annotations>")
    end = f"<annotations>{end}"
    texts = (
        *(start + doctype + end for doctype in DOCTYPES),
        start + DOCTYPES[0] + end.replace('label="car"', 'label="&a11;"'),
        start + DOCTYPES[0] + end.replace("</version>", "&a11;</version>"),
        start + DOCTYPES[1] + end.replace('name="b.png"', 'name="&x;"'),
        "<annotations>" + "<image>" * 100_000 + "</image>" * 100_000 + "</annotations>",
        start.replace("utf-8", rng.choice(("utf-7", "ascii", "x", "utf-16", "cp037"))) + end,
        end.replace("<version>", "<track id='1'/><version>"),
        "<annotations " + " ".join(f'a{i}="{i}"' for i in range(10_000)) + "/>",
        *("<annotations/>", "<a/>", "", "<", "\x00", end * 2, f"{end}{start}", end[:-20]),
    )
    text = rng.choice(texts)
    data = mutate_text(rng, text) if rng.random() < 0.3 and text else text.encode()
    return make_case(work, "c.xml", data, *SIZES)


KINDS: dict[str, CaseBuilder] = {
    "coco values": mutate_coco,
    "coco shapes": replace_coco_shapes,
    "coco documents": use_odd_json,
    "labelme": mutate_labelme,
    "yolo": mutate_yolo,
    "cvat values": mutate_cvat,
    "cvat documents": use_odd_xml,
}
