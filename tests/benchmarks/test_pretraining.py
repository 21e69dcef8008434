"""The benchmark of pretraining draws fair subsets, and scenes with the classes of photographs."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.pretraining import draw_subset, num_epochs
from benchmarks.pretraining_report import (
    PRETRAINED,
    SCRATCH,
    Group,
    epochs_to_reach,
    format_table,
    result_table,
    save_plot,
)
from benchmarks.scenes import CLASS_NAMES, scene_class_map, write_scenes
from roadseg.config.class_map import IGNORE_INDEX, ClassMap, read_class_map
from roadseg.config.json_files import write_model
from roadseg.data.prepared import CLASSES, PreparedDataset
from roadseg.system.errors import InputError
from streetscenes.drawing import pixel_tags
from tests.benchmarks.test_trainings import make_result
from tests.factories import ROOT


def test_subsets_are_nested_and_keep_the_order_of_the_list():
    ids = [f"image{i}" for i in range(40)]
    subsets = [draw_subset(ids, count, 7) for count in (5, 10, 20, 40)]
    assert [len(subset) for subset in subsets] == [5, 10, 20, 40]
    for small, large in itertools.pairwise(subsets):
        assert small == [image_id for image_id in large if image_id in small]
    assert subsets[-1] == ids
    assert draw_subset(ids, 5, 8) != subsets[0]
    with pytest.raises(InputError, match="1 to 40"):
        draw_subset(ids, 41, 7)


def test_epochs_give_the_same_number_of_steps_up_to_a_limit():
    assert num_epochs(num_images=367, batch_size=2, steps=2000, limit=60) == 11  # of 184 steps
    assert num_epochs(num_images=100, batch_size=2, steps=2000, limit=60) == 40
    assert num_epochs(num_images=25, batch_size=2, steps=2000, limit=60) == 60
    assert num_epochs(num_images=367, batch_size=2, steps=10, limit=60) == 1


@pytest.mark.parametrize("name", ["camvid11", "kitti12", "cityscapes19"])
def test_scenes_have_the_names_order_and_colors_of_the_photographs(name: str):
    photographs = read_class_map(ROOT / f"classes/{name}.yaml")
    scenes = scene_class_map(photographs)
    assert scenes.names == photographs.names
    assert (scenes.colors == photographs.colors).all()
    assert scenes.void == photographs.void
    _, known = scenes.table()
    assert set(np.flatnonzero(known)) == set(CLASS_NAMES)


def test_label_ids_of_scenes_get_the_classes_of_kitti_and_camvid():
    kitti = read_class_map(ROOT / "classes/kitti12.yaml")
    drawn = list(CLASS_NAMES)
    assert (scene_class_map(kitti).table()[0][drawn] == kitti.table()[0][drawn]).all()
    camvid = scene_class_map(read_class_map(ROOT / "classes/camvid11.yaml"))
    class_ids = camvid.table()[0]
    names = {label_id: camvid.names[class_ids[label_id]] for label_id in (8, 12, 19, 22, 28, 33)}
    assert names == {
        8: "pavement", 12: "building", 19: "sign", 22: "tree", 28: "car", 33: "bicyclist"
    }  # fmt: skip
    assert class_ids[4] == IGNORE_INDEX


def test_every_label_that_the_generator_draws_has_names():
    tags = [value for name, value in vars(pixel_tags).items() if name.isupper()]
    labels = {tag & pixel_tags.LABEL_BITS for tag in tags} - {0, pixel_tags.LABEL_BITS}
    assert labels == set(CLASS_NAMES)


def test_classes_that_the_generator_never_draws_are_an_error_or_reported():
    camvid = read_class_map(ROOT / "classes/camvid11.yaml")
    values = camvid.model_dump()
    values["classes"][1]["name"] = "lake"
    scenes = scene_class_map(ClassMap.model_validate(values))
    assert [entry.name for entry in scenes.classes if not entry.label_ids] == ["lake"]
    for entry in values["classes"][1:]:
        entry["name"] += " of Mars"
    with pytest.raises(InputError, match="fewer than two"):
        scene_class_map(ClassMap.model_validate(values))


def test_scenes_are_prepared_once_and_described_by_the_class_map_of_the_photographs(
    tmp_path: Path,
):
    photographs = PreparedDataset(tmp_path / "photographs")
    class_map = read_class_map(ROOT / "classes/camvid11.yaml")
    write_model(photographs.root / CLASSES, class_map)
    scenes = write_scenes(tmp_path, photographs, 2, (36, 64), seed=3)
    assert scenes.class_map() == class_map
    assert len(scenes.train_ids()) == 2
    pixels = dict(zip(class_map.names, scenes.class_pixels(scenes.train_ids()), strict=True))
    assert pixels["road"] > 500
    assert pixels["sky"] > 50
    (tmp_path / "prepared/scale.json").unlink()
    write_scenes(tmp_path, photographs, 2, (36, 64), seed=3)
    assert not (tmp_path / "prepared/scale.json").exists()  # not drawn again
    with pytest.raises(InputError, match="other scenes"):
        write_scenes(tmp_path, photographs, 3, (36, 64), seed=3)


def test_table_compares_both_sides_and_counts_epochs_until_the_pretrained_one_is_as_good():
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    groups = [Group(25, 2, 26, {}), Group(50, 2, 50, {})]
    results = [
        {SCRATCH: {0: make_result(0.5, 5)}, PRETRAINED: {0: make_result(0.75, 10)}},
        {SCRATCH: {0: make_result(0.75, 10)}, PRETRAINED: {}},
    ]
    lines = format_table(groups, results, class_map)
    assert lines[2:] == [
        "| 25 | 2 | 26 | 0.500 | 0.750 | +0.417 (no interval) | 1.0 |",
        "| 50 | 2 | 50 | 0.750 |  |  |  |",
    ]
    table = result_table(groups, results)
    assert list(table["images"]) == [25, 25, 50]
    assert list(table["start"]) == [SCRATCH, PRETRAINED, SCRATCH]
    assert list(table["miou"]) == [0.5, 0.75, 0.75]


def test_epochs_to_reach_are_a_mean_over_seeds_or_say_how_many_seeds_never_do():
    low, high = make_result(0.2, 5), make_result(0.6, 5)
    late = high._replace(history=pd.DataFrame({"epoch": [1, 2], "val_miou": [0.1, 0.6]}))
    assert epochs_to_reach({0: low, 1: high}, {0: high, 1: late}) == "1.5"
    assert epochs_to_reach({0: low, 1: high}, {0: high, 1: low}) == "not reached by 1 of 2"


def test_plot_of_one_seed_shows_both_sides(tmp_path: Path):
    columns = ["images", "start", "seed", "epochs", "best_epoch", "miou"]
    rows = [[n, side, 0, 1, 1, n / 100] for n in (25, 50) for side in (SCRATCH, PRETRAINED)]
    save_plot(tmp_path / "plot.png", pd.DataFrame(rows, columns=columns))
    with Image.open(tmp_path / "plot.png") as image:
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 20)}
    assert {(0xF5, 0x85, 0x18), (0x4C, 0x78, 0xA8)} <= colors
