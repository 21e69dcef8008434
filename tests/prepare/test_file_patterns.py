from pathlib import Path

import pytest

from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.system.errors import InputError


def test_patterns_in_one_directory_find_files_and_overlapping_patterns_are_refused(tmp_path: Path):
    for name in ("a1.png", "a1_L.png", "a2x.png"):
        (tmp_path / name).touch()
    wide = FilePatterns(images="{id}*.png", masks="m/{id}.png", test_images=None)
    assert wide.files(tmp_path) == ["a1.png", "a1_L.png", "a2x.png"]
    both = FilePatterns(images="{id}.png", masks="{id}_L.png", test_images=None)
    with pytest.raises(InputError, match=r"a1_L.png matches the patterns of both"):
        both.places(both.files(tmp_path))


def test_pattern_syntax():
    naming = FilePatterns(
        images="a/*/{id}_x.[1].png", masks="m/{id}.png", test_images="t/{id}.JPEG"
    )
    names = ["a/b/c_x.[1].png", "a/b/d/c_x.[1].png", "a/c_x.[1].png", "a/b/c_x.1.png", "m/c.png"]
    names += ["m/.png", "m/d.png.png", "xm/c.png", "t/c.JPEG", "t/.c.JPEG", "o/t/d.JPEG"]
    assert naming.places(names) == {
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
    assert naming.places(names) == {
        "i/train/c/train1_x.png": "training/image_2/train1.png",
        "i/v[a]l/c/v[a]l1_x.png": "training/image_2/v[a]l1.png",
        "m/train/c/train1_y.png": "training/semantic/train1.png",
        "m/v[a]l/c/v[a]l1_y.png": "training/semantic/v[a]l1.png",
    }
    with pytest.raises(InputError, match=r"a_x.jpg' does not match i/\{train,v\[a\]l\}/.*; rename"):
        naming.places([*names, "i/train/c/a_x.jpg"])
