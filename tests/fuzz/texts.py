"""Hostile params.yaml and class maps, for the first stages that read them."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from roadseg.config.params import Params, load_params
from roadseg.config.schema import read_yaml
from roadseg.prepare.layout import TRAIN_MASKS
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import check_prepared_data
from tests.fuzz.mutation import ODD_WORDS, mutate_bytes, mutate_text, mutate_value, truncate_bytes
from tests.fuzz.workspace import (
    CHECK,
    CLASSES,
    REMAP,
    SPLIT,
    copy_in,
    params,
    valid_workspace,
    write_old_outputs,
)

OWN_MAP = "own.yaml"
BILLION = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
DOCUMENTS = (
    *("", "\n", "# nothing", "---\n...", "null", "1", "text", "[]", "{}", "- a", "a", "a: b"),
    *("%YAML 1.1\n---\na: yes", "%YAML 9.9\n---\na: 1", "%TAG ! tag:x\n---\n!a b", "%", "--- %"),
    *("a: 1\n---\nb: 2", "a: 1\na: 2", "? [1, 2]\n: 3", "? {a: 1}\n: 3", "!!python/object:os.x {}"),
    *("!!python/object/apply:os.system ['touch evil']", "!!python/object/new:os.popen ['touch e']"),
    *("&a [*a]", "&a {a: *a}", "a: &a [*a, *a]", "? &a a\n: *a", "*undefined", "&a &b c"),
    *(
        "[" * 5000,
        "{a: " * 2000,
        "- " * 2000,
        "? " * 2000,
        "[" * 300 + "]" * 300,
        '"' + "\\n" * 500,
    ),
    *(
        "9" * 5000,
        "-" + "9" * 5000,
        "0x" + "f" * 5000,
        "1e" + "9" * 400,
        "." + "9" * 5000,
        "a" * 9000,
    ),
    *("2001-99-99", "a: 2001-01-01", "!!timestamp 2001-01-01T99:99:99Z", "!!binary a", "!!set {a}"),
    *(
        "!!omap [a: 1, a: 2]",
        "!!pairs [a]",
        "!!int 1_000",
        "!!int x",
        "!!float x",
        "!!str",
        "!<x> a",
    ),
    *(
        "\ufeffa: 1",
        "a: \x00",
        "a: \x1b[31m",
        "\t- a",
        "a:\tb",
        "a: |\n b\n c",
        "a: >9\n b",
        "\x85",
    ),
    *(BILLION, f"{BILLION}data: *a11\n", "x: &x\n" * 400),
)


def check_params(work: Path) -> None:
    """Check that accepted parameters are those in the file."""
    loaded = load_params(work / "params.yaml").model_dump()
    assert loaded == read_yaml(work / "params.yaml"), "differs from the file"
    assert loaded.keys() == Params.model_fields.keys()


def make_params_case(work: Path, data: bytes) -> Case:
    """Build a case of check, then split."""
    copy_in(work, "data/prepared")
    (work / "params.yaml").write_bytes(data)
    write_old_outputs(work, "data/params.checked", "data/split.json")

    def check() -> None:
        check_params(work)
        split = json.loads((work / "data/split.json").read_text())
        ids = sorted(path.stem for path in (work / "data/prepared/masks").iterdir())
        assert sorted(split["train"] + split["val"]) == ids
        assert split["train"]
        assert split["val"]

    return Case([CHECK, SPLIT], ("params.yaml", "split.", "train.", "render."), check)


def mutate_params_text(rng: random.Random, work: Path) -> Case:
    return make_params_case(work, mutate_text(rng, (valid_workspace() / "params.yaml").read_text()))


def mutate_params_bytes(rng: random.Random, work: Path) -> Case:
    data = (valid_workspace() / "params.yaml").read_bytes()
    return make_params_case(work, rng.choice((truncate_bytes, mutate_bytes))(rng, data))


def mutate_params_values(rng: random.Random, work: Path) -> Case:
    return make_params_case(work, encode_yaml(rng, mutate_value(rng, params())))


def encode_yaml(rng: random.Random, value: Any) -> bytes:
    """Encode a value as JSON, which is also YAML, in one of several encodings."""
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
    except ValueError:  # an integer with more than 4300 digits
        text = "9" * 5000
    encoding = "utf-16" if rng.random() < 0.02 else "utf-8"
    return text.encode(encoding, "surrogatepass")


def replace_params_value(rng: random.Random, work: Path) -> Case:
    """Replace one value by an unusual YAML expression."""
    return make_params_case(
        work, replace_value(rng, (valid_workspace() / "params.yaml").read_text())
    )


def replace_value(rng: random.Random, text: str) -> bytes:
    lines = text.splitlines()
    at = rng.choice([i for i, line in enumerate(lines) if ":" in line and "#" not in line[:3]])
    lines[at] = f"{lines[at].split(':')[0]}: {rng.choice(ODD_WORDS)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def use_odd_documents(rng: random.Random, work: Path) -> Case:
    """Use an unusual document, alone, before or after valid parameters."""
    text = rng.choice(DOCUMENTS)
    if rng.random() < 0.4:
        right = (valid_workspace() / "params.yaml").read_text()
        text = rng.choice((f"{right}\n{text}", f"{text}\n{right}"))
    return make_params_case(work, text.encode())


def make_class_map_case(work: Path, data: bytes) -> Case:
    """Build a case of remap with a custom class map."""
    copy_in(work, "data/raw")
    (work / OWN_MAP).write_bytes(data)
    text = (valid_workspace() / "params.yaml").read_text()
    (work / "params.yaml").write_text(text.replace("classes: kitti12", f"classes: {OWN_MAP}"))
    write_old_outputs(work, "data/prepared/", "plots/frequency.csv")

    def check() -> None:
        class_map = read_yaml(work / OWN_MAP)
        classes = class_map["classes"]
        check_prepared_data(work, len(classes))
        assert json.loads((work / "data/prepared/classes.json").read_text()) == class_map
        table = np.full(256, -1)
        for class_id, entry in enumerate(classes):
            table[entry["label_ids"]] = class_id
        for path in (work / "data/prepared/masks").iterdir():
            label_ids = np.asarray(Image.open(work / "data/raw" / TRAIN_MASKS / f"{path.stem}.png"))
            expected = table[label_ids]
            assert (np.where(expected < 0, expected, np.load(path)) == expected).all()
        assert (work / "plots/frequency.csv").read_text().count("\n") >= len(classes) + 1

    return Case([REMAP], (OWN_MAP, "data/raw"), check)


def choose_class_map(rng: random.Random) -> str:
    return (CLASSES / rng.choice(("kitti12.yaml", "kitti11.yaml"))).read_text()


def mutate_classes_text(rng: random.Random, work: Path) -> Case:
    return make_class_map_case(work, mutate_text(rng, choose_class_map(rng)))


def mutate_classes_values(rng: random.Random, work: Path) -> Case:
    value = YAML(typ="safe", pure=True).load(choose_class_map(rng))
    return make_class_map_case(work, encode_yaml(rng, mutate_value(rng, value)))


def use_odd_class_maps(rng: random.Random, work: Path) -> Case:
    text = rng.choice(DOCUMENTS)
    if rng.random() < 0.4:
        text = rng.choice((f"{choose_class_map(rng)}\n{text}", f"{text}\n{choose_class_map(rng)}"))
    return make_class_map_case(work, text.encode())


KINDS: dict[str, CaseBuilder] = {
    "params text": mutate_params_text,
    "params bytes": mutate_params_bytes,
    "params values": mutate_params_values,
    "params words": replace_params_value,
    "params documents": use_odd_documents,
    "classes text": mutate_classes_text,
    "classes values": mutate_classes_values,
    "classes documents": use_odd_class_maps,
}
