"""Class maps: which label ids of a mask form which class, with names and colours.

label_id (0..255) is what a mask file holds; class_id (0..C-1) is what the network learns.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadseg.config.schema import checked, read_yaml
from roadseg.system.errors import InputError
from roadseg.system.files import repository_path

IGNORE_INDEX = 255
"""Value in a cached mask for pixels that are neither trained nor counted."""

_UNKNOWN_CHOICES = ("error", "ignore")


@dataclass(frozen=True, kw_only=True)
class LabelClass:
    """One class: its name, RGB colour (0..255 each) and label ids (0..255)."""

    name: str
    color: list[int]
    label_ids: list[int]

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("name: a class needs a name")
        if not self.name.isprintable():
            raise InputError(f"name: {self.name!r} has control characters")
        if len(self.color) != 3 or not all(0 <= value <= 255 for value in self.color):
            raise InputError(f"color: {self.color} is no colour; expected three of 0 to 255")
        _require_label_ids("label_ids", self.label_ids)


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """The classes of a data set; a class's id is its place in `classes`."""

    void: str | None
    ignored_label_ids: list[int]
    unknown_label_ids: str
    classes: list[LabelClass]

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) < IGNORE_INDEX:
            raise InputError(f"classes: expected 1 to {IGNORE_INDEX - 1}, got {len(self.classes)}")
        for kind, values in (
            ("name", self.names),
            ("label id", [*self._class_label_ids(), *self.ignored_label_ids]),
        ):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise InputError(f"classes: {kind} {twice[0]!r} stands in more than one place")
        if self.void is not None and self.void not in self.names:
            raise InputError(f"void: no class is named {self.void!r}; use one of {self.names}")
        if self.unknown_label_ids not in (*_UNKNOWN_CHOICES, *self.names):
            raise InputError(
                f"unknown_label_ids: {self.unknown_label_ids!r} is not error, ignore or a class"
            )
        _require_label_ids("ignored_label_ids", self.ignored_label_ids)

    def _class_label_ids(self) -> list[int]:
        return [label_id for entry in self.classes for label_id in entry.label_ids]

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.classes]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def void_id(self) -> int | None:
        """Class id of the void class, None if the map has none."""
        return None if self.void is None else self.names.index(self.void)

    @property
    def colors(self) -> np.ndarray:
        """(C, 3) uint8, RGB."""
        return np.array([entry.color for entry in self.classes], dtype=np.uint8)

    @property
    def hex_colors(self) -> list[str]:
        """Of each class, #rrggbb."""
        return ["#{:02x}{:02x}{:02x}".format(*entry.color) for entry in self.classes]

    def label_ids(self) -> np.ndarray:
        """(C,) uint8, the label id that stands for each class in a mask: the first in its list.

        A class without any gets the smallest that no class has.
        """
        taken = {*self._class_label_ids(), *self.ignored_label_ids}
        free = next((label_id for label_id in range(256) if label_id not in taken), 0)
        firsts = [entry.label_ids[0] if entry.label_ids else free for entry in self.classes]
        return np.array(firsts, dtype=np.uint8)

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """The lookup table of the map.

        Returns:
            class_ids: (256,) uint8, the class id (or IGNORE_INDEX) of each label id.
            known: (256,) bool, False where a label id has no class and is an error.
        """
        default = self.unknown_label_ids
        fill = IGNORE_INDEX if default in _UNKNOWN_CHOICES else self.names.index(default)
        class_ids = np.full(256, fill, dtype=np.uint8)
        known = np.full(256, default != "error")
        for class_id, entry in enumerate(self.classes):
            class_ids[entry.label_ids] = class_id
            known[entry.label_ids] = True
        class_ids[self.ignored_label_ids] = IGNORE_INDEX
        known[self.ignored_label_ids] = True
        return class_ids, known

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, source: Path) -> "ClassMap":
        """The map in `value`, plain data that was read from the file `source`."""
        try:
            return checked(cls, value)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None


def _require_label_ids(key: str, label_ids: list[int]) -> None:
    for label_id in label_ids:
        if not 0 <= label_id <= 255:
            raise InputError(f"{key}: {label_id} is out of range; expected 0 to 255")


def find_class_map(name: str, folder: Path) -> Path:
    """The file of the class map `name`: `folder`/NAME.yaml, or a path of the user's own.

    A relative path counts from the working directory, then from the repository's root.

    Raises:
        InputError: neither is there; names the maps in `folder`.
    """
    built_in = folder / f"{name}.yaml"
    if built_in.is_file():
        return built_in
    # A copy of the repository, in which DVC runs an experiment, holds what is in git; its own file
    # is the one that DVC has hashed.
    for own in (Path(name), repository_path(name)):
        if own.is_file():
            return own
    known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise InputError(f"remap.classes: no class map {name!r}; use {known}, or a YAML file's path")


def read_class_map(path: Path) -> ClassMap:
    """The class map in the YAML file `path`. Raises InputError that names file and key."""
    return ClassMap.from_json(read_yaml(path), path)
