"""The syntax of file patterns: what they match, and which texts are refused."""

import re
import unicodedata

import pytest

from roadseg.config.file_pattern import (
    FilePattern,
    image_pattern,
    join_id,
    mask_pattern,
    require_same_fields,
)


@pytest.mark.parametrize(
    ("pattern", "name", "values"),
    [
        ("{id}.png", "a.b.png", {"id": "a.b"}),
        ("{id}.png", "a/b.png", None),
        ("{id}.png", ".png", None),
        ("i/*/{id}_x.[1].png", "i//a_x.[1].png", {"id": "a"}),
        ("i/*/{id}_x.[1].png", "i/b/a_x.[1].png", {"id": "a"}),
        ("{id}.{jpg,JPG,png}", "a.JPG", {"id": "a"}),
        ("{id}.{jpg,JPG,png}", "a.PNG", None),
        ("{split:train,val}/{id}.png", "val/0.png", {"split": "val", "id": "0"}),
        ("{split:train,val}/{id}.png", "test/0.png", None),
        ("{a}/Images/{b}.png", "seq1/Images/0.png", {"a": "seq1", "b": "0"}),
        ("{12:30,12:45}/{id}.png", "12:45/12:30:01.png", {"id": "12:30:01"}),
        ("{id}.png", "a\\b.png", None),
        ("{id}.png", "a\nb.png", None),
        ("{id}.png", "a\udcffb.png", None),
    ],
)
def test_fields_have_the_text_that_they_match(pattern: str, name: str, values: dict | None):
    found = FilePattern(pattern).match(name)
    assert (found and found.values) == values


def test_names_and_patterns_are_compared_in_nfc_and_values_are_nfc():
    composed, decomposed = "caf\u00e9/\u00fc.png", "cafe\u0301/u\u0308.png"
    for folder in ("caf\u00e9", "cafe\u0301"):
        pattern = FilePattern(f"{folder}/{{id}}.png")
        for name in (composed, decomposed):
            found = pattern.match(name)
            assert found is not None
            assert found.values == {"id": "\u00fc"}
    assert pattern.levels[0].fullmatch(unicodedata.normalize("NFC", "cafe\u0301"))


def test_literal_characters_are_those_outside_of_free_fields_and_stars():
    pattern = FilePattern("{split:train,val}/*_{id}.{png,jpeg}")
    for name, num_literal in (("train/a_b.png", 11), ("val/aaa_bbb.jpeg", 10)):
        found = pattern.match(name)
        assert found is not None
        assert found.num_literal == num_literal


def test_levels_match_directories_and_the_file_with_any_suffix():
    folder, file = FilePattern("{split:train,val}/a{id}.{png,jpg}").levels
    assert folder.fullmatch("val")
    assert not folder.fullmatch("test")
    assert file.fullmatch("a1.webp")
    assert not file.fullmatch("b1.png")


def test_id_joins_the_fields_in_the_order_of_the_images_pattern():
    images = image_pattern("{split:train,val}/{drive}/{id}.{jpg,JPG}")
    masks = mask_pattern("masks/{drive}-{id}/{split}.png")
    require_same_fields(images, masks)
    found = masks.match("masks/7-001/val.png")
    assert found is not None
    assert join_id(found.values, images.fields) == "val_7_001"
    assert images.suffixes == (".jpg", ".jpg")


@pytest.mark.parametrize("masks", ["{split}/a.json", "a.{json,xml}", "{split:train,val}/a.xml"])
def test_annotation_files_may_describe_many_images(masks: str):
    require_same_fields(image_pattern("{split}/{id}.jpg"), mask_pattern(masks))


@pytest.mark.parametrize("masks", ["{split}/a.txt", "a.png", "{id}.{json,png}", "{other}/a.json"])
def test_other_masks_have_the_fields_of_their_images(masks: str):
    expected = r"should have the same fields as images: \{split\} and \{id\}"
    with pytest.raises(ValueError, match=expected):
        require_same_fields(image_pattern("{split}/{id}.jpg"), mask_pattern(masks))


RELATIVE = "should be a relative path with a suffix, such as img/{id}.{jpg,png}"
BRACES = "should have braces like {id}, {a,b} or {name:a,b}, not "
CLOSING = "should have a closing brace for each opening one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", RELATIVE),
        ("{id}", RELATIVE),
        ("img\\{id}.png", RELATIVE),
        ("img/../{id}.png", RELATIVE),
        ("img/{a,..}/{id}.png", RELATIVE),
        ("img/{a:b,..}/{id}.png", RELATIVE),
        ("/img/{id}.png", RELATIVE),
        ("**/{id}.png", RELATIVE),
        ("{id}.*", RELATIVE),
        ("{id}.{jpg,}", RELATIVE),
        ("a/{id}/{id}.png", "should have each field once, but has {id} more than once"),
        ("{a-b}/{id}.png", f"{BRACES}{{a-b}}"),
        ("{a,}/{id}.png", f"{BRACES}{{a,}}"),
        ("{a*,b}/{id}.png", f"{BRACES}{{a*,b}}"),
        ("{a:}/{id}.png", f"{BRACES}{{a:}}"),
        ("{{id}}.png", CLOSING),
        ("a}/{id}.png", CLOSING),
        ("{a/{id}.png", CLOSING),
        ("a.png", "should have a field such as {id}, which becomes the id of the image"),
        ("{id}.json", "should end in .png, .jpg, .jpeg, .bmp, .tif, .tiff, .gif or .webp"),
        ("{id}.{png,heic}", "should end in .png, .jpg, .jpeg, .bmp, .tif, .tiff, .gif or .webp"),
    ],
)
def test_invalid_pattern_is_refused(text: str, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        image_pattern(text)
