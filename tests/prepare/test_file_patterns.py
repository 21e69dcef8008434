from pathlib import Path

import pytest

from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.system.errors import InputError


def test_files_that_match_by_their_beginning_are_found(tmp_path: Path):
    for name in ("a1.png", "a1_L.webp", "a2x.png", "a3", ".a4.png"):
        (tmp_path / name).touch()
    wide = FilePatterns(images="{id}*.png", masks="m/{id}.png", test_images=None)
    assert wide.files(tmp_path) == ["a1.png", "a1_L.webp", "a2x.png"]


def test_pattern_with_more_literal_characters_wins():
    same = FilePatterns(images="{id}.{jpg,png}", masks="{id}_mask.png", test_images=None)
    assert same.match(["a.png", "a_mask.png"]).places == {
        "a.png": "training/image_2/a.png",
        "a_mask.png": "training/semantic/a.png",
    }


def test_patterns_with_equally_many_literal_characters_are_refused():
    tie = FilePatterns(images="a{id}.png", masks="{id}k.png", test_images=None)
    message = r"a_mask.png matches both a\{id\}.png and \{id\}k.png; make one of them longer"
    with pytest.raises(InputError, match=message):
        tie.match(["ab.png", "bk.png", "a_mask.png"])


def test_pattern_syntax():
    naming = FilePatterns(
        images="a/*/{id}_x.[1].png", masks="m/{id}.png", test_images="t/{id}.JPEG"
    )
    names = ["a/b/c_x.[1].png", "a/b/d/c_x.[1].png", "a/c_x.[1].png", "a/b/c_x.1.png", "m/c.png"]
    names += ["m/.png", "m/d.png.png", "xm/c.png", "t/c.JPEG", "t/.c.JPEG", "o/t/d.JPEG"]
    assert naming.match(names).places == {
        "t/c.JPEG": "testing/image_2/c.jpg",
        "a/b/c_x.[1].png": "training/image_2/c.png",
        "m/c.png": "training/semantic/c.png",
        "m/d.png.png": "training/semantic/d.png.png",
    }


def test_alternatives_in_braces(tmp_path: Path):
    naming = FilePatterns(
        images="i/{train,v[a]l}/*/{id}_x.png",
        masks="m/{train,v[a]l}/*/{id}_y.png",
        test_images=None,
    )
    names = [f"{top}/{part}/c/{part}1_{end}.png" for part in ("train", "v[a]l", "test", "val")
             for top, end in (("i", "x"), ("m", "y"))]  # fmt: skip
    for name in [*names, "m/train/c/train1_y_color.png", "i/{train,v[a]l}/c/n_x.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = naming.files(tmp_path)
    assert found == sorted(names[:4])
    assert naming.match(names).places == {
        "i/train/c/train1_x.png": "training/image_2/train1.png",
        "i/v[a]l/c/v[a]l1_x.png": "training/image_2/v[a]l1.png",
        "m/train/c/train1_y.png": "training/semantic/train1.png",
        "m/v[a]l/c/v[a]l1_y.png": "training/semantic/v[a]l1.png",
    }
    with pytest.raises(InputError, match=r"a_x.jpg' does not match i/\{train,v\[a\]l\}/.*; rename"):
        naming.match([*names, "i/train/c/a_x.jpg"])
