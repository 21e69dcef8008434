"""Further layouts, patterns of the user, and datasets that have no layout."""

import contextlib
import json
import random
from collections.abc import Mapping

import pytest

from roadseg.prepare.discovery.layouts.layout import Layout, discover_layout
from roadseg.prepare.discovery.layouts.names import find_split
from roadseg.system.errors import InputError
from tests.prepare.discovery.memory_files import COLORS, IDS, LOSSY_COLORS, PHOTO, make_files

NUMBERS = [f"{number:03d}" for number in range(10)]
SPLITS = {number: ("train" if int(number) < 6 else "val") for number in NUMBERS}
POLYGON = "0 0.1 0.1 0.9 0.1 0.5 0.9\n"


def name_files(image: str, mask: str, content: bytes | str = IDS) -> dict[str, bytes | str]:
    """Ten images and masks; the names have {n}, {split} and {drive}."""
    files: dict[str, bytes | str] = {}
    for n in NUMBERS:
        values = {"n": n, "split": SPLITS[n], "drive": f"drive{int(n) % 3}"}
        files |= {image.format(**values): PHOTO, mask.format(**values): content}
    return files


def discover(files: Mapping[str, bytes | str], **options: str) -> Layout:
    return discover_layout(make_files(files), **options)


PAIRS = {
    "split in front of the role": (
        *("{split}_images/{n}.jpg", "{split}_masks/{n}.png"),
        *("{split:train,val}_images/{id}.jpg", "{split:train,val}_masks/{id}.png"),
    ),
    "split behind a camel-case role": (
        *("imagesTr/case_{n}_0000.png", "labelsTr/case_{n}.png"),
        *("imagesTr/{id}_0000.png", "labelsTr/{id}.png"),
    ),
    "prefixes": (*("data/img_{n}.png", "data/mask_{n}.png", "img_{id}.png", "mask_{id}.png"),),
    "same stem": ("d/{n}.jpg", "d/{n}.png", "{id}.jpg", "{id}.png"),
    "masks in a subdirectory": ("{n}.jpg", "gt/{n}.png", "{id}.jpg", "gt/{id}.png"),
    "a directory for each image": (
        *("{n}/image.png", "{n}/mask.png", "{id}/image.png", "{id}/mask.png"),
    ),
    "a directory that the name repeats": (
        *("img/{drive}/{drive}_{n}.png", "lab/{drive}/{drive}_{n}.png"),
        *("img/*/{id}.png", "lab/*/{id}.png"),
    ),
    "a directory that only groups": (
        *("img/{drive}/{n}.png", "lab/{drive}/{n}.png"),
        *("img/{folder}/{id}.png", "lab/{folder}/{id}.png"),
    ),
    "splits of the masks only": (
        *("images/{n}.jpg", "masks/{split}/{n}.png"),
        *("images/{id}.jpg", "masks/{train,val}/{id}.png"),
    ),
    "splits of the images only": (
        *("images/{split}/{n}.jpg", "masks/{n}.png"),
        *("images/{train,val}/{id}.jpg", "masks/{id}.png"),
    ),
    "deep": (
        *("a/b/images/10k/{split}/{n}.jpg", "a/b/labels/sem_seg/masks/{split}/{n}.png"),
        "b/images/10k/{split:train,val}/{id}.jpg",
        "b/labels/sem_seg/masks/{split:train,val}/{id}.png",
    ),
    "two archives next to each other": (
        "left_all/left/{split}/ulm/ulm_{n}_left.png",
        "gt_all/gt/{split}/ulm/ulm_{n}_gt_labelIds.png",
        "left_all/left/{split:train,val}/ulm/{id}_left.png",
        "gt_all/gt/{split:train,val}/ulm/{id}_gt_labelIds.png",
    ),
    "spaces, dots and colons": (
        *("my images/a. {n}:30.jpg", "my masks/a. {n}:30.png"),
        *("my images/{id}.jpg", "my masks/{id}.png"),
    ),
    "characters of patterns": (
        *("im{{g}}/{n}.jpg", "la*b/{n}.png", "im*g*/{id}.jpg", "la*b/{id}.png"),
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_images_and_masks_are_paired(case: str):
    image, mask, images, masks = PAIRS[case]
    layout = discover(name_files(image, mask))
    assert (layout.images, layout.masks) == (images, masks)
    assert (layout.kind, layout.unmasked, layout.notes) == ("ids", "error", ())
    assert len(layout.pairs) == 10
    val = {pair.image_id for pair in layout.pairs if find_split(pair.image + pair.mask) == "val"}
    if layout.val_ids == "^val_":
        assert all(image_id.startswith("val_") for image_id in val)
    else:
        assert set(layout.val_ids or ()) == val


def test_unpadded_numbers_are_paired():
    files: dict[str, bytes | str] = {}
    for n in range(0, 1200, 7):
        files |= {f"street {n}.png": PHOTO, f"street {n}_mask.png": IDS}
    layout = discover(files)
    assert (layout.images, layout.masks, len(layout.pairs)) == ("{id}.png", "{id}_mask.png", 172)


def test_suffixes_may_be_mixed():
    files = {f"lab/{n}.png": IDS for n in NUMBERS}
    endings = (".jpg", ".JPG", ".jpeg", ".png")
    files |= {f"img/{n}{endings[int(n) % 4]}": PHOTO for n in NUMBERS}
    layout = discover(files)
    assert layout.images == "img/{id}.{JPG,jpg,jpeg,png}"
    assert len(layout.pairs) == 10


def test_names_are_compared_in_nfc():
    files = name_files("img/cafe\u0301{n}.jpg", "lab/café{n}.png")
    layout = discover(files)
    assert layout.pairs[0].image_id == "café000"
    assert len(layout.pairs) == 10


def test_content_decides_and_names_break_ties():
    swapped = discover(name_files("labels/{n}.png", "images/{n}.png"))
    assert (swapped.images, swapped.masks) == ("labels/{id}.png", "images/{id}.png")
    flat = dict.fromkeys(name_files("img/{n}.png", "gt/{n}.png"), IDS)
    assert discover(flat).images == "img/{id}.png"
    assert discover(flat).notes[0].startswith("unsure: the images have few colors")


@pytest.mark.parametrize("word", ["labeled", "labelled"])
def test_names_of_masks_have_either_spelling(word: str):
    flat = dict.fromkeys(name_files("zebra/{n}.png", f"{word}/{{n}}.png"), IDS)
    assert discover(flat).images == "zebra/{id}.png"


@pytest.mark.parametrize("word", ["color", "colour"])
def test_other_folders_are_preferred_to_those_of_colors_in_either_spelling(word: str):
    files = name_files("rgb/{n}.png", "zebra/{n}.png") | name_files(
        "rgb/{n}.png", f"{word}/{{n}}.png"
    )
    assert discover(files).masks == "zebra/{id}.png"


def test_label_ids_are_preferred_to_colors_and_instances():
    files = name_files("rgb/{n}.png", "a/{n}.png") | name_files("rgb/{n}.png", "b/{n}.png", COLORS)
    layout = discover(files | name_files("rgb/{n}.png", "instance/{n}.png"))
    assert layout.masks == "a/{id}.png"
    assert layout.notes == (
        "a/{id}.png (ids) is used; data.masks can also choose instance/{id}.png (ids), "
        "b/{id}.png (colors)",
    )


def test_photographs_are_preferred_to_depth_maps():
    files = name_files("depth/{n}.jpg", "gt/{n}_mask.png")
    files |= name_files("rgb/{n}_clipped.jpg", "gt/{n}_mask.png")
    layout = discover(files)
    assert (layout.images, layout.masks) == ("rgb/{id}_clipped.jpg", "gt/{id}_mask.png")


def test_masks_without_an_image_are_named_but_not_their_companions():
    files = name_files("img/{n}.jpg", "lab/{n}.png")
    files |= {f"lab/{n}_color.png": COLORS for n in NUMBERS}
    layout = discover(files)
    assert layout.masks == "lab/{id}.png"
    assert not any(note.startswith("unsure") for note in layout.notes)
    del files["img/004.jpg"]
    note = "unsure: masks without an image stop fetch (1, such as lab/004.png); remove them"
    assert any(text.startswith(note) for text in discover(files).notes)


def test_images_in_two_formats_are_not_used_silently():
    files = name_files("PNG/in/{n}.png", "PNG/gt/{n}.png")
    files |= name_files("TIF/in/{n}.tif", "TIF/gt/{n}.tif")
    assert (
        discover(files)
        .notes[-1]
        .startswith(
            "unsure: PNG/in/000.png and TIF/in/000.tif may be the same image in two formats; if so,"
        )
    )
    chosen = discover(files, images="PNG/in/{id}.png")
    assert (chosen.masks, len(chosen.pairs)) == ("PNG/gt/{id}.png", 10)


def test_jpeg_masks_are_inexact_colors():
    layout = discover(name_files("images/{n}.jpg", "masks/{n}.jpg", LOSSY_COLORS))
    assert layout.kind == "colors"
    assert layout.notes[0].startswith("unsure: the masks are JPEG files, in which the colors are")


def test_test_images_may_lie_elsewhere_and_other_images_are_reported():
    files = name_files("train/images/{n}.jpg", "train/masks/{n}.png")
    files |= {f"test/{n}.jpg": PHOTO for n in "abc"} | {f"more/{n}.jpg": PHOTO for n in "de"}
    layout = discover(files)
    assert layout.test_images == "test/{id}.jpg"
    assert layout.test_names == ("test/a.jpg", "test/b.jpg", "test/c.jpg")
    assert layout.notes == ("unsure: images in these directories are not used: more (2)",)


def test_images_next_to_others_without_a_mask_are_counted():
    files = name_files("{n}.jpg", "{n}_mask.png") | {f"{n}_view.jpg": PHOTO for n in NUMBERS}
    layout = discover(files | {"preview.png": PHOTO})
    assert (layout.unmasked, len(layout.pairs)) == ("skip", 10)
    assert layout.notes[-1].startswith("11 of 21 images have no mask and are skipped, such as ")


def list_files(**lists: list[str]) -> dict[str, str]:
    return {f"lists/{name}.txt": "\n".join(lines) + "\n" for name, lines in lists.items()}


@pytest.mark.parametrize(
    "line", ["{}", "img/{}.png lab/{}.png", "/home/me/data/img/{}.png", "{},1"]
)
def test_lists_of_ids_or_paths_define_the_split(line: str):
    lines = [line.replace("{}", n) for n in NUMBERS]
    files = name_files("img/{n}.png", "lab/{n}.png") | list_files(train=lines[:7], val=lines[7:])
    layout = discover(files | list_files(trainval=lines))
    assert layout.val_ids == tuple(NUMBERS[7:])
    assert layout.notes == ()


def test_lists_of_other_images_are_not_the_split():
    files = name_files("img/{n}.png", "lab/{n}.png")
    files |= {"other/train.lst": "x\ny\n", "other/val.lst": f"x\ny\nz\n{NUMBERS[0]}\n"}
    files |= list_files(train=NUMBERS[:7], val=NUMBERS[7:])
    assert discover(files).val_ids == tuple(NUMBERS[7:])


def test_a_list_of_test_images_is_never_used_silently():
    files = name_files("img/{n}.png", "lab/{n}.png")
    lists = list_files(train=NUMBERS[:6], val=NUMBERS[6:8], test=NUMBERS[8:])
    layout = discover(files | lists)
    assert layout.val_ids == tuple(NUMBERS[6:8])
    assert layout.notes[0].startswith("unsure: 2 images of lists/test.txt have masks")
    del lists["lists/val.txt"]
    layout = discover(files | lists)
    assert layout.val_ids == tuple(NUMBERS[8:])
    assert layout.notes[0].startswith("unsure: lists/test.txt is used for validation")


def test_groups_are_the_beginnings_of_the_ids():
    assert discover(name_files("i/{drive}_{n}.png", "l/{drive}_{n}.png")).group_by == "^([^_]+)_"
    assert discover(name_files("i/{drive}-{n}.png", "l/{drive}-{n}.png")).group_by == "^([^-]+)-"
    assert discover(name_files("i/a_{n}.png", "l/a_{n}.png")).group_by is None
    assert discover(name_files("i/{n}_10.png", "l/{n}_10.png")).group_by is None


def write_coco(names: list[str]) -> str:
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    return json.dumps({"images": images, "annotations": [{"segmentation": []}], "categories": []})


def test_coco_files_of_one_directory_define_the_split():
    files: dict[str, bytes | str] = {f"images/{n}.jpg": PHOTO for n in NUMBERS}
    files["ann/train.json"] = write_coco([f"{n}.jpg" for n in NUMBERS[:6]])
    files["ann/val.json"] = write_coco([f"{n}.jpg" for n in NUMBERS[6:8]] + ["lost.jpg"])
    layout = discover(files)
    assert (layout.images, layout.masks) == ("images/{id}.jpg", "ann/{train,val}.json")
    assert (layout.val_ids, layout.unmasked) == (tuple(NUMBERS[6:8]), "skip")
    assert layout.pairs[6] == ("006", "images/006.jpg", "ann/val.json")
    assert layout.notes[0].startswith("unsure: ann/{train,val}.json also describes images that do")


def test_annotation_files_may_repeat_the_name_of_their_directory():
    files: dict[str, bytes | str] = {f"{SPLITS[n]}/{n}.jpg": PHOTO for n in NUMBERS}
    for split in ("train", "val"):
        names = [f"{n}.jpg" for n in NUMBERS if SPLITS[n] == split]
        files[f"{split}/annotations_{split}.json"] = write_coco(names)
    layout = discover(files)
    assert layout.masks == "{train,val}/annotations_{split:train,val}.json"
    assert (layout.val_ids, len(layout.pairs)) == ("^val_", 10)


def test_cvat_tasks_have_one_file_each():
    files: dict[str, bytes | str] = {}
    for task in (1, 2):
        files |= {f"task_{task}/images/{n}.jpg": PHOTO for n in NUMBERS}
        entries = "".join(f'<image id="0" name="{n}.jpg" width="24">' for n in NUMBERS)
        files[f"task_{task}/annotations.xml"] = f"<annotations>{entries}</annotations>"
    layout = discover(files)
    assert layout.images == "task_{folder}/images/{id}.jpg"
    assert (layout.masks, len(layout.pairs)) == ("task_{folder}/annotations.xml", 20)


GIVEN: dict[str, tuple[dict[str, str], str, str]] = {
    "images": ({"images": "rgb/{number}.png"}, "rgb/{number}.png", "gt/{number}_L.png"),
    "masks": ({"masks": "color/{id}.png"}, "rgb/{id}.png", "color/{id}.png"),
    "both": ({"images": "rgb/{id}.png", "masks": "gt/{id}_L.png"}, "rgb/{id}.png", "gt/{id}_L.png"),
    "fields": (
        {"images": "rgb/{tens:00,01}{ones}.png"},
        "rgb/{tens:00,01}{ones}.png",
        "gt/{tens:00,01}{ones}_L.png",
    ),
}


@pytest.mark.parametrize("case", GIVEN)
def test_patterns_of_the_user_are_kept_and_the_others_found(case: str):
    options, images, masks = GIVEN[case]
    files = name_files("rgb/{n}.png", "gt/{n}_L.png")
    files |= name_files("rgb/{n}.png", "color/{n}.png", COLORS)
    layout = discover(files, **options)
    assert (layout.images, layout.masks, len(layout.pairs)) == (images, masks, 10)
    assert layout.kind == ("colors" if case == "masks" else "ids")


def test_patterns_of_the_user_choose_annotation_files():
    files: dict[str, bytes | str] = {f"img/{n}.jpg": PHOTO for n in NUMBERS}
    files |= {name: write_coco([f"{n}.jpg" for n in NUMBERS[:4]]) for name in ("a.json", "b.json")}
    layout = discover(files, images="img/{id}.jpg", masks="b.json")
    assert (layout.kind, len(layout.pairs), layout.unmasked) == ("coco", 4, "skip")
    assert {pair.mask for pair in layout.pairs} == {"b.json"}
    assert discover(files, masks="b.json").images == "img/{id}.jpg"


ERRORS: dict[str, tuple[dict[str, bytes | str], dict[str, str], str]] = {
    "nothing": ({}, {}, "no images found among 0 files; images end in .png"),
    "texts": (
        {"a.txt": "", "b.txt": "", "c": ""},
        {},
        "no images found among 3 files: .txt (2), without suffix (1); images end in .png",
    ),
    "images": (
        {f"top/{folder}/{n}.jpg": PHOTO for folder in "abcde" for n in NUMBERS[: ord(folder) - 96]},
        {},
        "no masks found: 15 images in e (5), d (4), c (3) and 2 more directories; name the "
        "pattern with --masks, such as labels/{id}.png",
    ),
    "stereo": (
        {f"{side}/{n}.png": PHOTO for side in ("left", "right") for n in NUMBERS},
        {},
        "no masks found: 20 images in left (10), right (10);",
    ),
    "boxes": (
        name_files("images/{n}.jpg", "labels/{n}.txt", "0 0.5 0.5 0.1 0.1\n"),
        {},
        "no masks found: 10 images in images (10); other files: .txt (10); the text files have",
    ),
    "other annotations": (
        name_files("images/{n}.jpg", "ann/{n}.jpg.json", '{"objects": [], "size": {}}'),
        {},
        "no masks found: 10 images in images (10); other files: .json (10); no .json or .xml file, "
        "such as ann/000.jpg.json, has polygons of images with these names as COCO, LabelMe or",
    ),
    "ids that differ": (
        name_files("img/{n}.png", "lab/{n}_L.png"),
        {"masks": "lab/{id}.png"},
        "img/{id}.png and lab/{id}.png match no image with its mask (img/000.png and lab/000_L.png "
        "have different fields); name the patterns",
    ),
    "no match": (
        name_files("img/{n}.png", "lab/{n}.png"),
        {"masks": "gt/{id}.png"},
        "--masks: no file matches gt/{id}.png",
    ),
    "no pattern": (
        name_files("img/{n}.png", "lab/{n}.png"),
        {"images": "img/a.png"},
        "--images: should have a field such as {id}",
    ),
    "no mask": (
        {f"{folder}/{n}.png": PHOTO for folder in ("img", "lab") for n in NUMBERS}
        | {f"lab/{n}.txt": "text" for n in NUMBERS},
        {"images": "img/{id}.png", "masks": "lab/{id}.txt"},
        "lab/000.txt: not a mask or annotations",
    ),
    "two of one id": (
        name_files("img/{n}.png", "lab/{n}.png") | {"img/000.jpg": PHOTO},
        {},
        "img/000.jpg and img/000.png both have the id 000; ids must differ",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_found_and_what_is_missing(case: str):
    files, options, message = ERRORS[case]
    with pytest.raises(InputError) as caught:
        discover(files, **options)
    assert message in str(caught.value)


def random_name(rng: random.Random) -> str:
    folders = [
        "".join(rng.choices("ab_-.1é{", k=rng.randint(1, 6))) for _ in range(rng.randint(1, 4))
    ]
    return "/".join(folders) + rng.choice([".png", ".json", ".txt", ".xml", ".jpg"])


def test_any_names_and_contents_give_a_layout_or_one_error():
    contents = (
        PHOTO,
        IDS,
        COLORS,
        "{}",
        "",
        POLYGON,
        write_coco(["a.png"]),
        b"\xff\0",
        "<annotations>",
    )
    for seed in range(30):
        rng = random.Random(seed)
        files = {random_name(rng): rng.choice(contents) for _ in range(rng.choice((3, 30, 90)))}
        with contextlib.suppress(InputError):
            layout = discover(files)
            images = {pair.image for pair in layout.pairs}
            assert images
            assert images <= files.keys()
            assert len({pair.image_id for pair in layout.pairs}) == len(images)


@pytest.mark.parametrize(
    "files",
    [
        {f"d{n}/x{n}.png": PHOTO for n in range(2000)},
        {f"d{n}/image.png": PHOTO for n in range(300)},
        {f"img/{'a_' * 122}{n:05d}.png": PHOTO for n in range(200)},
        {"/".join("d" * 1000) + f"/{n}.png": PHOTO for n in range(100)},
    ],
    ids=["directories", "same names", "long names", "deep"],
)
def test_many_directories_and_long_names_are_read_quickly(files: dict[str, bytes]):
    with pytest.raises(InputError, match="no masks found"):
        discover(files)
