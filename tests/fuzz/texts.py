"""Hostile params.yaml and class maps, for the stages that read them first."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from roadseg.config.params import Params, load_params
from roadseg.config.schema import read_yaml
from tests.fuzz.case import Case, Make
from tests.fuzz.mutation import ODD_WORDS, cut_bytes, mutated_bytes, mutated_text, mutated_value
from tests.fuzz.oracles import require_whole_cache
from tests.fuzz.workspace import CHECK, CLASSES, REMAP, SPLIT, bring, old_out, params, whole

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


def require_right_params(work: Path) -> None:
    """Raise AssertionError where accepted parameters are others than the file's values."""
    loaded = load_params(work / "params.yaml").model_dump()
    assert loaded == read_yaml(work / "params.yaml"), "other values than the file has"
    assert loaded.keys() == Params.model_fields.keys()


def params_case(work: Path, data: bytes) -> Case:
    """check, then split, which takes what its section says."""
    bring(work, "data/prepared")
    (work / "params.yaml").write_bytes(data)
    old_out(work, "data/params.checked", "data/split.json")

    def check() -> None:
        require_right_params(work)
        split = json.loads((work / "data/split.json").read_text())
        ids = sorted(path.stem for path in (work / "data/prepared/masks").iterdir())
        assert sorted(split["train"] + split["val"]) == ids
        assert split["train"]
        assert split["val"]

    return Case([CHECK, SPLIT], ("params.yaml", "split.", "train.", "render."), check)


def params_text(rng: random.Random, work: Path) -> Case:
    return params_case(work, mutated_text(rng, (whole() / "params.yaml").read_text()))


def params_bytes(rng: random.Random, work: Path) -> Case:
    data = (whole() / "params.yaml").read_bytes()
    return params_case(work, rng.choice((cut_bytes, mutated_bytes))(rng, data))


def params_values(rng: random.Random, work: Path) -> Case:
    return params_case(work, as_yaml(rng, mutated_value(rng, params())))


def as_yaml(rng: random.Random, value: Any) -> bytes:
    """JSON, which is YAML too, in one of several encodings and forms."""
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
    except ValueError:  # a number of more digits than Python writes
        text = "9" * 5000
    encoding = "utf-16" if rng.random() < 0.02 else "utf-8"
    return text.encode(encoding, "surrogatepass")


def params_words(rng: random.Random, work: Path) -> Case:
    """One value replaced by YAML that is seldom seen, in a file that is else right."""
    return params_case(work, with_odd_word(rng, (whole() / "params.yaml").read_text()))


def with_odd_word(rng: random.Random, text: str) -> bytes:
    lines = text.splitlines()
    at = rng.choice([i for i, line in enumerate(lines) if ":" in line and "#" not in line[:3]])
    lines[at] = f"{lines[at].split(':')[0]}: {rng.choice(ODD_WORDS)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def documents(rng: random.Random, work: Path) -> Case:
    """Whole files that are no parameters, alone or behind right ones."""
    text = rng.choice(DOCUMENTS)
    if rng.random() < 0.4:
        right = (whole() / "params.yaml").read_text()
        text = rng.choice((f"{right}\n{text}", f"{text}\n{right}"))
    return params_case(work, text.encode())


def map_case(work: Path, data: bytes) -> Case:
    """remap with a class map of the user's own."""
    bring(work, "data/raw")
    (work / OWN_MAP).write_bytes(data)
    text = (whole() / "params.yaml").read_text()
    (work / "params.yaml").write_text(text.replace("classes: kitti12", f"classes: {OWN_MAP}"))
    old_out(work, "data/prepared/", "plots/frequency.csv")

    def check() -> None:
        class_map = read_yaml(work / OWN_MAP)
        classes = class_map["classes"]
        require_whole_cache(work, len(classes))
        assert json.loads((work / "data/prepared/classes.json").read_text()) == class_map
        table = np.full(256, -1)
        for class_id, entry in enumerate(classes):
            table[entry["label_ids"]] = class_id
        for path in (work / "data/prepared/masks").iterdir():
            found = np.load(path)
            before = np.load(whole() / "data/prepared/masks" / path.name)
            assert found.shape == before.shape
        assert (work / "plots/frequency.csv").read_text().count("\n") >= len(classes) + 1

    return Case([REMAP], (OWN_MAP, "data/raw"), check)


def map_text(rng: random.Random) -> str:
    return (CLASSES / rng.choice(("kitti12.yaml", "kitti11.yaml"))).read_text()


def classes_text(rng: random.Random, work: Path) -> Case:
    return map_case(work, mutated_text(rng, map_text(rng)))


def classes_values(rng: random.Random, work: Path) -> Case:
    value = YAML(typ="safe", pure=True).load(map_text(rng))
    return map_case(work, as_yaml(rng, mutated_value(rng, value)))


def classes_documents(rng: random.Random, work: Path) -> Case:
    text = rng.choice(DOCUMENTS)
    if rng.random() < 0.4:
        text = rng.choice((f"{map_text(rng)}\n{text}", f"{text}\n{map_text(rng)}"))
    return map_case(work, text.encode())


KINDS: dict[str, Make] = {
    "params text": params_text,
    "params bytes": params_bytes,
    "params values": params_values,
    "params words": params_words,
    "params documents": documents,
    "classes text": classes_text,
    "classes values": classes_values,
    "classes documents": classes_documents,
}
