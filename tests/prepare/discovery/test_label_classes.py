"""Classes of polygons, from their labels."""

from collections import Counter

import pytest

from roadseg.prepare.annotations.shapes import Regions, Shapes
from roadseg.prepare.discovery.classes.class_tables import ClassTable, TableClass
from roadseg.prepare.discovery.classes.classes import Classes
from roadseg.prepare.discovery.classes.label_classes import LabelStatistics, find_label_classes

LEFT, RIGHT = [0, 0, 2, 0, 2, 4, 0, 4], [2, 0, 4, 0, 4, 4, 2, 4]


def find(*labels: str | int, table: ClassTable | None = None) -> Classes:
    """Find the classes of an image of 4x4 pixels; the first label is left, the others right."""
    shapes = [
        Regions(label=label, polygons=[[float(value) for value in RIGHT if i] or LEFT])
        for i, label in enumerate(labels)
    ]
    drawn = Shapes(source="a.json", height=4, width=4, shapes=shapes)
    return find_label_classes(LabelStatistics(Counter(labels), {"a.png": drawn}), table)


def test_free_pixels_are_a_class():
    found = find("road")
    assert found.class_map.names == ["background", "road"]
    assert found.class_map.background == "background"
    assert found.notes == ("pixels without a shape are the class background (50% of all)",)


def test_free_pixels_are_ignored_if_there_are_hardly_any():
    found = find("road", "car")
    assert found.class_map.names == ["car", "road"]
    assert found.class_map.background == "ignore"


@pytest.mark.parametrize("label", ["background", "_background_", "Background"])
def test_a_label_for_the_background_is_also_that_of_free_pixels(label: str):
    found = find("road", label)
    assert found.class_map.names == sorted([label, "road"])
    assert found.class_map.background == label


@pytest.mark.parametrize("label", ["__ignore__", "unlabelled", "unlabeled"])
def test_labels_without_a_class_are_ignored(label: str):
    found = find("road", label, "car")
    assert found.class_map.names == ["car", "road"]
    assert found.class_map.ignored_labels == [label]


def test_label_ids_have_the_names_of_the_table():
    entries = [TableClass("road", label_id=0), TableClass("car", label_id=1)]
    found = find(0, 7, table=ClassTable("data.yaml", entries))
    classes = {entry.name: entry.label_ids for entry in found.class_map.classes}
    assert classes == {"road": [0], "car": [1], "class_7": [7]}
    assert "label id 7 has no name" in found.notes[0]
