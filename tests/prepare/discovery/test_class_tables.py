"""Readers of the class tables that come with data sets, and their errors."""

import pytest

from roadseg.prepare.discovery.classes.class_tables import (
    TableClass,
    find_class_table,
    read_class_table,
)
from roadseg.system.errors import InputError

ROAD, CAR = TableClass("road", (128, 64, 128)), TableClass("my car", (0, 0, 142))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\nmy car,0,0,142\n"),
        (
            "class_dict_seg.csv",
            "\ufeffB, G, R,Name\r\n128,64, 128,road\r\n\r\n142, 0, 0,my car",
        ),
        (
            "a/labelmap.txt",
            "# label:color:parts:actions\nroad:128,64,128::\nmy car:0,0,142::\n",
        ),
        ("label_colors.txt", "128 64 128\troad\n0 0 142\t\tmy car\n"),
    ],
)
def test_tables_of_colors(name: str, text: str):
    table = read_class_table(name, text.encode())
    assert table.classes == [ROAD, CAR]
    assert table.by_color()[0, 0, 142] == CAR
    assert table.by_label_id() == {0: ROAD, 1: CAR}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "nc: 2\nnames: [wall, 21]\n"),
        ("data.yaml", "names:\n  0: wall\n  1: 21\n"),
        ("_classes.csv", "Pixel Value, Class\n0, wall\n1, 21\n"),
        ("objectInfo150.txt", "Idx\tRatio\tName\n0\t0.1\twall, brick\n1\t0.2\t21;one\n"),
    ],
)
def test_tables_of_label_ids(name: str, text: str):
    table = read_class_table(name, text.encode())
    assert table.classes == [TableClass("wall", None, 0), TableClass("21", None, 1)]
    assert table.by_color() == {}


def test_synonyms_are_kept_where_the_first_ones_are_equal():
    text = b"Idx\tName\n5\tscreen;silver screen\n9\tscreen;CRT screen\n"
    names = read_class_table("objectInfo150.txt", text).by_label_id()
    assert {i: entry.name for i, entry in names.items()} == {
        5: "screen;silver screen",
        9: "screen;CRT screen",
    }


def test_the_table_nearest_to_the_root_is_found():
    names = ["a/b/class_dict.csv", "a/Label_Colors.txt", "a/classes.txt", "a/data.yaml.bak"]
    assert find_class_table(names) == "a/Label_Colors.txt"
    assert find_class_table(names[2:]) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("class_dict.csv", "name,r,g\n", "line 1: no column 'b'; expected name, r, g, b"),
        ("class_dict.csv", "", "line 1: no column 'name'; expected name, r, g, b"),
        ("class_dict.csv", "name,r,g,b\n", "has no classes"),
        ("class_dict.csv", "name,r,g,b\na,1,2\n", "line 2: has 3 of 4 fields"),
        (
            "class_dict.csv",
            "name,r,g,b\na,1,2,256\n",
            "a color channel is '256', expected 0 to 255",
        ),
        ("class_dict.csv", "name,r,g,b\na,1,2,-1\n", "a color channel is '-1'"),
        ("class_dict.csv", "name,r,g,b\na,1,2,٣\n", "a color channel is '٣', expected 0 to 255"),
        ("class_dict.csv", "name,r,g,b\n ,1,2,3\n", "line 2: '' is not a class name"),
        ("class_dict.csv", "name,r,g,b\na\x07,1,2,3\n", r"line 2: 'a\x07' is not a class name"),
        (
            *("class_dict.csv", "name,r,g,b\na,1,2,3\nb,4,5,6\na,7,8,9\n"),
            "line 4: name 'a' is also in line 2; each may occur once",
        ),
        (
            *("labelmap.txt", "a:1,2,3::\nb:1,2,3::\n"),
            "line 2: color (1, 2, 3) is also in line 1; each may occur once",
        ),
        ("labelmap.txt", "a:1,2::\n", "line 1: 'a:1,2::' is not name:r,g,b:parts:actions"),
        ("label_colors.txt", "1 2 3\n", "line 1: '1 2 3' is not r g b name"),
        ("label_colors.txt", b"1 2 3 \xe9t\xe9\n", "not UTF-8 text; save it as UTF-8"),
        ("label_colors.txt", "1 2 3 a\n" * 9999, "over 65,536 bytes; a class table is smaller"),
        ("objectInfo150.txt", "Idx\tName\nx\ta\n", "line 2: Idx is 'x', expected 0 to 65535"),
        ("data.yaml", "train: a\n", "no key names with a list of class names"),
        ("data.yaml", "names: {a: b}\n", "names: should be a list of names, or names by label id"),
        ("data.yaml", "names: [[a]]\n", "names: should be a list of names, or names by label id"),
        ("data.yaml", "names: [a", "not a YAML file: "),
        ("data.yaml", "- " * 30000, "not a YAML file: "),
    ],
)
def test_invalid_tables_are_one_clear_line(name: str, content: str | bytes, message: str):
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(InputError) as caught:
        read_class_table(f"set/{name}", data)
    assert str(caught.value).startswith(f"set/{name}: ")
    assert message in str(caught.value)
