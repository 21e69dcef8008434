"""Classes of masks, from the values in a sample of them."""

import numpy as np
import pytest

from roadseg.prepare.discovery.classes.class_tables import ClassTable, TableClass
from roadseg.prepare.discovery.classes.classes import Classes
from roadseg.prepare.discovery.classes.known_classes import voc_color
from roadseg.prepare.discovery.classes.mask_classes import find_mask_classes
from roadseg.prepare.discovery.classes.mask_statistics import MaskStatistics
from roadseg.prepare.images.masks import MaskPixels
from roadseg.system.errors import InputError
from tests.factories import ROOT

GRAYS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
ROAD, CAR, VOID = (128, 64, 128), (0, 0, 142), (0, 0, 0)
TABLE = ClassTable(
    "class_dict.csv",
    [TableClass("road", ROAD), TableClass("car", CAR), TableClass("Void", VOID)],
)


def find(*masks: MaskPixels, table: ClassTable | None = None, name: str = "masks/a.png") -> Classes:
    statistics = MaskStatistics()
    for mask in masks:
        statistics.add(name, mask)
    return find_mask_classes(statistics, table, name, ROOT / "classes")


def gray(*values: int) -> MaskPixels:
    return MaskPixels(np.array([values], dtype=np.uint8), GRAYS, False)


def deep(*values: int) -> MaskPixels:
    return MaskPixels(np.array([values], dtype=np.uint16), None, False)


def painted(*colors: tuple[int, ...]) -> MaskPixels:
    return MaskPixels(np.array([colors], dtype=np.uint8), None, False)


def indexed(colors: dict[int, tuple[int, int, int]]) -> MaskPixels:
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[list(colors)] = list(colors.values())
    return MaskPixels(np.array([list(colors)], dtype=np.uint8), palette, True)


def ids(found: Classes) -> dict[str, list[int]]:
    assert found.mask_values == "ids"
    return {entry.name: entry.label_ids for entry in found.class_map.classes}


def colors(found: Classes) -> dict[str, tuple[int, ...]]:
    return {entry.name: tuple(entry.color) for entry in found.class_map.classes}


@pytest.mark.parametrize(
    ("mask", "expected", "ignored"),
    [
        (gray(0, 255), {"background": [0], "object": [255]}, []),
        (gray(0, 1), {"background": [0], "object": [1]}, []),
        (gray(0, 1, 255), {"background": [0], "object": [1]}, [255]),
        (gray(3, 7, 255), {"class_3": [3], "class_7": [7]}, [255]),
        (gray(0, 127, 255), {"class_0": [0], "class_127": [127], "class_255": [255]}, []),
        (deep(2, 999), {"class_2": [2], "class_999": [999]}, []),
        (painted((4, 4, 4), (5, 5, 5)), {"class_4": [4], "class_5": [5]}, []),
    ],
)
def test_label_ids_in_gray(mask: MaskPixels, expected: dict, ignored: list):
    found = find(mask)
    assert ids(found) == expected
    assert found.class_map.ignored_label_ids == ignored
    assert len(set(colors(found).values())) == len(expected)


def test_classes_have_the_colors_of_the_palette():
    found = find(indexed({2: ROAD, 5: CAR}), indexed({2: ROAD}))
    assert ids(found) == {"class_2": [2], "class_5": [5]}
    assert colors(found) == {"class_2": ROAD, "class_5": CAR}


def test_stray_pixels_do_not_make_white_a_border():
    found = find(gray(*[0] * 150, *[255] * 150, 254))
    assert ids(found) == {"class_0": [0], "class_254": [254], "class_255": [255]}
    assert not found.class_map.ignored_label_ids


def test_gray_masks_among_painted_ones_are_reported():
    note = "unsure: 1 masks are gray and 2 in color, and each gray is taken as a color"
    assert find(gray(0, 1), painted(ROAD, CAR), painted(ROAD, VOID)).notes[0].startswith(note)
    assert not find(painted(ROAD, CAR), painted(VOID), table=TABLE).notes


def test_palettes_of_different_order_are_read_by_color():
    found = find(indexed({0: ROAD, 1: CAR}), indexed({0: CAR, 1: ROAD}))
    assert found.mask_values == "colors"
    assert set(colors(found).values()) == {ROAD, CAR}


def test_voc_is_known_by_its_palette_and_directory():
    mask = indexed({index: voc_color(index) for index in (0, 15, 255)})
    found = find(mask, name="VOC2012/SegmentationClass/a.png")
    assert ids(found)["person"] == [15]
    assert len(ids(found)) == 21
    assert colors(found)["tvmonitor"] == (0, 64, 128)
    assert found.class_map.ignored_label_ids == [255]
    assert list(ids(find(mask))) == ["background", "object"]


@pytest.mark.parametrize(
    ("name", "label_ids", "known_as"),
    [
        ("training/semantic/000000_10.png", (0, 7, 33), "kitti12"),
        ("training/semantic/000000_10.png", (7, 34), None),
        ("gtFine/train/a/a_000000_000019_gtFine_labelIds.png", (0, 7, 33), "cityscapes19"),
        ("gtCoarse/val/a/a_000000_000019_gtCoarse_labelIds.png", (0, 7, 33), "cityscapes19"),
        ("trainannot/0016E5_07959.png", (0, 10, 11), "camvid11"),
        ("trainannot/photo_1.png", (0, 10, 11), None),
    ],
)
def test_class_maps_of_public_sets_are_known_by_file_names(
    name: str, label_ids: tuple[int, ...], known_as: str | None
):
    assert find(gray(*label_ids), name=name).known_as == known_as


@pytest.mark.parametrize("mask", [painted(ROAD, CAR, VOID), indexed({3: ROAD, 9: CAR})])
def test_names_of_colors_are_those_of_the_table(mask: MaskPixels):
    found = find(mask, table=TABLE)
    assert found.mask_values == "colors"
    assert colors(found) == {"road": ROAD, "car": CAR}
    assert found.class_map.ignored_colors == [list(VOID)]


def test_colors_that_the_table_lacks_become_classes_or_are_ignored():
    table = ClassTable("labelmap.txt", TABLE.classes[:1])
    found = find(painted(ROAD, (9, 9, 9), VOID, voc_color(255)), table=table)
    assert colors(found) == {"road": ROAD, "class_1": (9, 9, 9)}
    assert found.class_map.ignored_colors == [[0, 0, 0], [224, 224, 192]]
    assert sum("is ignored" in note for note in found.notes) == 2


def test_label_ids_are_positions_in_a_table_of_colors():
    assert ids(find(gray(0, 1, 255), table=TABLE)) == {"road": [0], "car": [1]}
    found = find(gray(0, 3), table=TABLE)
    assert ids(found) == {"background": [0], "object": [3]}
    assert "class_dict.csv has no class for label id 3" in found.notes[0]


def test_label_id_0_is_ignored_if_the_table_begins_at_1():
    table = ClassTable(
        "objectInfo150.txt", [TableClass("wall", label_id=1), TableClass("sky", label_id=2)]
    )
    found = find(gray(0, 1), table=table)
    assert ids(found) == {"wall": [1], "sky": [2]}
    assert found.class_map.ignored_label_ids == [0]


def blurred(*channels: np.ndarray) -> MaskPixels:
    """Two areas of 500 pixels, and each mixture of their colors in one pixel."""
    rows = [np.concatenate([np.repeat(c[0], 500), c, np.repeat(c[-1], 500)]) for c in channels]
    values = np.stack(rows, axis=-1).astype(np.uint8)[None]
    return MaskPixels(values, None, False)


def test_mixed_colors_need_a_tolerance():
    mix = np.arange(0, 101)
    mask = blurred(mix, 0 * mix, 2 * mix)
    found = find(mask)
    assert (found.mask_values, found.color_tolerance) == ("colors", 100)
    assert colors(found) == {"background": (0, 0, 0), "object": (100, 0, 200)}
    assert "101 colors, as if anti-aliased" in found.notes[0]
    table = ClassTable("t.csv", [TableClass("a", (0, 0, 0)), TableClass("b", (102, 0, 200))])
    assert colors(find(mask, table=table)) == {"a": (0, 0, 0), "b": (102, 0, 200)}


def test_mixed_grays_need_a_tolerance_too():
    values = np.concatenate([np.zeros(5000), np.arange(256), np.full(5000, 255)])
    found = find(gray(*values.astype(int)))
    assert (found.mask_values, found.color_tolerance) == ("colors", 127)
    assert colors(found) == {"background": (0, 0, 0), "object": (255, 255, 255)}


def test_compressed_masks_are_colors():
    found = find(painted(*[ROAD, CAR] * 50, (127, 65, 128)), name="masks/a.jpg")
    assert set(colors(found).values()) == {ROAD, CAR}
    assert found.color_tolerance == 32


def test_more_values_than_classes_are_refused():
    with pytest.raises(InputError, match="300 classes found; a class map has 1 to 254"):
        find(deep(*range(1000, 1300)))
