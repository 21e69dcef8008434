"""The table of the confusion matrix of each image: what is written is read, and hostile tables."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadseg.config.class_map import ClassMap, LabelClass
from roadseg.evaluation import tables
from roadseg.evaluation.tables import (
    ImageConfusions,
    read_image_confusions,
    write_image_confusions,
)
from roadseg.system.errors import InputError
from tests.factories import THREE_CLASSES
from tests.hypothesis_profiles import LAW

HEADER = "image,actual,predicted,pixels\n"


def test_only_pairs_with_pixels_are_written_in_the_order_of_images_and_classes(tmp_path: Path):
    confusions = np.zeros((3, 3, 3), dtype=np.int64)
    confusions[0, 2, 1], confusions[0, 0, 2], confusions[2, 1, 1] = 3, 1, 40_000_000
    write_image_confusions(tmp_path / "t.csv", THREE_CLASSES, ["b", "void", "a,1"], confusions)
    rows = ["b,rest,sky,1", "b,sky,road,3", '"a,1",road,road,40000000']
    assert (tmp_path / "t.csv").read_text() == HEADER + "".join(f"{row}\n" for row in rows)


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=5)
CLASSES = NAMES.filter(lambda name: name.isprintable() and name.strip())


@st.composite
def evaluations(draw: st.DrawFn) -> ImageConfusions:
    """Confusion matrices of up to four images and classes."""
    names = draw(st.lists(CLASSES, min_size=1, max_size=4, unique=True))
    ids = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    pixels = st.one_of(st.just(0), st.integers(0, 2**31 - 1))
    size = len(ids) * len(names) ** 2
    values = draw(st.lists(pixels, min_size=size, max_size=size))
    values[0] = values[0] or 1
    shape = (len(ids), len(names), len(names))
    return ImageConfusions(names, ids, np.array(values).reshape(shape))


@LAW
@given(evaluations())
def test_written_matrices_are_read_back(tmp_path_factory: pytest.TempPathFactory, before):
    classes = [LabelClass(name=name, color=[0, 0, 0]) for name in before.class_names]
    class_map = ClassMap(
        void=None, ignored_label_ids=[], unknown_label_ids="error", classes=classes
    )
    path = tmp_path_factory.mktemp("table") / "t.csv"
    write_image_confusions(path, class_map, before.ids, before.confusions)
    read = read_image_confusions(path)
    assert set(read.class_names) <= set(before.class_names)
    assert read.ids == [n for n, m in zip(before.ids, before.confusions, strict=True) if m.any()]
    for image_id, matrix in zip(before.ids, before.confusions, strict=True):
        for (row, column), pixels in np.ndenumerate(matrix):
            names = before.class_names[row], before.class_names[column]
            if image_id in read.ids and set(names) <= set(read.class_names):
                place = [read.class_names.index(name) for name in names]
                assert read.confusions[(read.ids.index(image_id), *place)] == pixels
            else:
                assert pixels == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its columns are [], expected ['image', 'actual', 'predicted', 'pixels']"),
        ("image,actual,predicted\n", "its columns are ['image', 'actual', 'predicted'], expected"),
        (HEADER, "it has no rows"),
        (HEADER + "a,b,c,1\na,b,c\n", "line 3 has 3 fields, expected 4"),
        (HEADER + "a,,c,1\n", "line 2: the name of an image or class is empty"),
        (HEADER + "a,b,c,-1\n", "line 2: pixels '-1' is not an integer from 1 to 2147483647"),
        (HEADER + "a,b,c,0\n", "line 2: pixels '0' is not an integer from 1"),
        (HEADER + "a,b,c,1.5\n", "line 2: pixels '1.5' is not an integer from 1"),
        (HEADER + "a,b,c,2147483648\n", "line 2: pixels '2147483648' is not an integer from 1"),
        (HEADER + f"a,b,c,{'9' * 5000}\n", "line 2: pixels '99999"),
        (HEADER + "a,b,c,1\na,b,d,1\na,b,c,2\n", "line 4: a, b, c is there twice"),
        (HEADER + 'a,"b,c,1\n', "not a table of confusion matrices per image: unexpected end"),
        (HEADER + "a,\udcff,c,1\n", "not a table of confusion matrices per image: 'utf-8' codec"),
        (HEADER + "".join(f"a,{i},c,1\n" for i in range(254)), "1 images of 255 classes are too"),
    ],
)
def test_invalid_table_gives_one_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: .*{re.escape(message)}"):
        read_image_confusions(path)


def test_missing_table_and_one_that_is_too_large_in_memory_give_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "table.csv"
    with pytest.raises(InputError, match=r"table.csv: no such file"):
        read_image_confusions(path)
    path.write_text(HEADER + "a,b,c,1\n")
    monkeypatch.setattr(tables, "_MOST_BYTES", 31)  # 1 x 2 x 2 numbers have 32 bytes
    with pytest.raises(InputError, match=r"table.csv: 1 images of 2 classes are too many"):
        read_image_confusions(path)
