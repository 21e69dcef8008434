"""Malicious and mistyped YAML gives a one-line error quickly."""

import math
from pathlib import Path

import pytest

from roadseg.config.recipe import Recipe
from roadseg.config.schema import StrictModel, read_yaml, validate
from roadseg.system.errors import InputError, one_line


class Strings(StrictModel):
    a39: list[str]


class Counts(StrictModel):
    a39: dict[str, int]


class Recipes(StrictModel):
    recipes: dict[str, Recipe]


class Key(StrictModel):
    key: str | float


REFUSED = {
    "deep blocks": ("- " * 5000, "not a YAML file: maximum recursion depth exceeded"),
    "many digits": ("9" * 5000, "not a YAML file"),
    "no date": ("2001-99-99", "month must be in 1..12"),
    "no hour": ("!!timestamp 2001-01-01T99:99:99Z", "hour must be"),
    "no number": ("!!int x", "not a YAML file"),
    "an ordered map": ("!!omap [a: 1, a: 2]", "not a YAML file"),
    "a call": ("!!python/object/apply:os.system ['touch evil']", "could not determine a const"),
    "large": ("#" * ((1 << 16) + 1), "65,537 bytes; the limit is 65,536"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_hostile_yaml_is_refused(tmp_path: Path, kind: str):
    text, message = REFUSED[kind]
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_largest_class_map_is_below_the_size_limit(tmp_path: Path):
    classes = [
        f'  - name: "a class with quite a long name, number {i}"\n    color: "#{i:06x}"\n'
        f"    label_ids:\n      - {i}\n"
        for i in range(255)
    ]
    path = tmp_path / "map.yaml"
    path.write_text("classes:\n" + "".join(classes))
    assert len(read_yaml(path)["classes"]) == 255


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
)


@pytest.mark.parametrize("text", [LAUGHS, "a39: &a [*a]"], ids=["billion laughs", "recursive"])
@pytest.mark.parametrize("expected", [Strings, Counts])
def test_exponential_and_recursive_aliases_give_a_short_error(
    tmp_path: Path, text: str, expected: type[StrictModel]
):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    values = read_yaml(path)
    with pytest.raises(InputError) as caught:
        validate(expected, values)
    assert len(str(caught.value)) < 700


def test_anchors_and_merge_keys_are_supported(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n")
    values = read_yaml(path)
    assert values["b"] == {"x": 1, "y": 3}
    assert values["c"] == [{"x": 1, "y": 2}] * 2
    path.write_text("a: &a 1\nb: &a 2\nc: *a\n")  # ruamel.yaml would warn about the second &a
    assert read_yaml(path)["c"] == 2


def test_many_aliases_of_a_section_with_many_unknown_keys_are_refused_quickly(tmp_path: Path):
    unknown = ", ".join(f"k{i}: 1" for i in range(3000))
    aliases = ", ".join(f"b{i}: *a" for i in range(2000))
    path = tmp_path / "params.yaml"
    path.write_text(f"recipes: {{a: &a {{{unknown}}}, {aliases}}}")
    with pytest.raises(InputError, match=r"^recipes.a.k0: unknown key; known keys: optimizer, "):
        validate(Recipes, read_yaml(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**400, "key: should be a valid string or should be a valid number, got 1000"),
        ([1 << 20_000], "got a number with thousands of digits"),
        (math.nan, "should be a finite number, got nan"),
    ],
    ids=["float", "list", "nan"],
)
def test_error_shows_numbers_that_no_type_accepts(value: object, message: str):
    with pytest.raises(InputError, match=message):
        validate(Key, {"key": value})


def test_error_is_one_short_line_without_control_characters():
    assert (
        str(InputError("a.png: \x1b[31mred\r\nnext\u202e")) == r"a.png: \x1b[31mred\r\nnext\u202e"
    )
    assert one_line("größe 漢字 'x'") == "größe 漢字 'x'"
    assert one_line("a" * 9000 + "z") == "a" * 300 + " ... " + "a" * 299 + "z"
