"""Class maps: the label ids, name and color of each class.

A label_id (0..255) is a value in a mask file; a class_id (0..C-1) is what the network predicts.
"""

import os
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator, model_validator

from roadseg.config.schema import StrictModel, read_yaml, validate
from roadseg.system.errors import InputError
from roadseg.system.files import repository_path

IGNORE_INDEX = 255
"""Value in a prepared mask of pixels that are excluded from the loss and the metrics."""

_UNKNOWN_CHOICES = ("error", "ignore")
_Byte = Annotated[int, Field(ge=0, le=255)]


class LabelClass(StrictModel):
    """One class: its name, RGB color and label ids."""

    name: Annotated[str, Field(pattern=r"\S")]
    color: Annotated[list[_Byte], Field(min_length=3, max_length=3)]
    label_ids: list[_Byte]

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("should have no control characters")
        return name


class ClassMap(StrictModel):
    """The classes of a data set; the id of a class is its position in `classes`."""

    void: str | None
    ignored_label_ids: list[_Byte]
    unknown_label_ids: str
    classes: Annotated[list[LabelClass], Field(min_length=1, max_length=IGNORE_INDEX - 1)]

    @model_validator(mode="after")
    def _check_names_and_ids(self) -> "ClassMap":
        names, label_ids = self.names, [*self._class_label_ids(), *self.ignored_label_ids]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"classes: name {name!r} is used more than once")
        for label_id in sorted(label_ids):
            if label_ids.count(label_id) > 1:
                raise ValueError(f"classes: label id {label_id} is assigned more than once")
        if self.void is not None and self.void not in names:
            raise ValueError(f"void: no class is named {self.void!r}; use one of {names}")
        if self.unknown_label_ids not in (*_UNKNOWN_CHOICES, *names):
            raise ValueError(
                f"unknown_label_ids: {self.unknown_label_ids!r} is not error, ignore or a class"
            )
        return self

    def _class_label_ids(self) -> list[int]:
        return [label_id for entry in self.classes for label_id in entry.label_ids]

    @property
    def names(self) -> list[str]:
        """Names of the classes, in the order of their ids."""
        return [entry.name for entry in self.classes]

    @property
    def num_classes(self) -> int:
        """Number of classes, including void."""
        return len(self.classes)

    @property
    def void_id(self) -> int | None:
        """Class id of the void class, None if there is none."""
        return None if self.void is None else self.names.index(self.void)

    @property
    def colors(self) -> np.ndarray:
        """RGB colors, (C, 3) uint8."""
        return np.array([entry.color for entry in self.classes], dtype=np.uint8)

    @property
    def hex_colors(self) -> list[str]:
        """Color of each class as #rrggbb."""
        return ["#{:02x}{:02x}{:02x}".format(*entry.color) for entry in self.classes]

    def label_ids(self) -> np.ndarray:
        """First label id of each class, or the smallest unused one if it has none; (C,) uint8."""
        taken = {*self._class_label_ids(), *self.ignored_label_ids}
        free = next((label_id for label_id in range(256) if label_id not in taken), 0)
        firsts = [entry.label_ids[0] if entry.label_ids else free for entry in self.classes]
        return np.array(firsts, dtype=np.uint8)

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Build the lookup table from label ids to class ids.

        Returns:
            class_ids: (256,) uint8, class id or IGNORE_INDEX of each label id.
            known: (256,) bool, False for label ids that are an error in a mask.
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


def find_class_map(name: str, folder: Path) -> Path:
    """Find the class map `name`: `folder`/NAME.yaml, or the path of any YAML file.

    A relative path is resolved in the working directory, then in the main repository. DVC runs an
    experiment in a copy of the repository, and hashes the files of the copy.

    Raises:
        InputError: there is no such file, or DVC did not copy it because Git does not track it.
    """
    for path in (folder / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    main_folder = repository_path(str(folder))
    for path in (main_folder / f"{name}.yaml", repository_path(name)):
        if path.is_file():
            if path.resolve().is_relative_to(main_folder.resolve()):
                raise InputError(_untracked_message(path))
            return path
    known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise InputError(f"remap.classes: no class map {name!r}; use {known}, or a YAML file's path")


def _untracked_message(path: Path) -> str:
    name = os.path.relpath(path, repository_path("."))
    return (
        f"remap.classes: {name} is not in this copy of the repository, because DVC copies only "
        f"files that Git tracks; run: git add {name}"
    )


def read_class_map(path: Path) -> ClassMap:
    """Read the class map in the YAML file `path`. Raises InputError that names file and key."""
    return validate(ClassMap, read_yaml(path), path)
