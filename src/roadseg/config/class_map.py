"""Class maps: the label ids, colors and text labels of each class in a data set's masks.

A label_id (0..65535) is a value in a mask file; a class_id (0..C-1) is what the network predicts.
"""

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator, model_validator

from roadseg.config.schema import StrictModel, read_yaml, validate
from roadseg.config.tracked_files import find_tracked_file
from roadseg.system.errors import InputError

IGNORE_INDEX = 255
"""Value in a prepared mask of pixels that are excluded from the loss and the metrics."""
NUM_LABEL_IDS = 1 << 16
"""Number of label ids that a mask can have."""

_IGNORE = "ignore"
_UNKNOWN_CHOICES = ("error", _IGNORE)
_LabelId = Annotated[int, Field(ge=0, lt=NUM_LABEL_IDS)]
_Label = Annotated[str, Field(pattern=r"\S")]
_Byte = Annotated[int, Field(ge=0, le=255)]
_Color = Annotated[list[_Byte], Field(min_length=3, max_length=3)]

Color = tuple[int, int, int]
"""Red, green and blue, 0..255."""


class LabelClass(StrictModel):
    """One class, and how masks and annotations refer to it."""

    name: _Label
    color: _Color
    """Color in figures and predictions, RGB."""
    label_ids: list[_LabelId] = Field(default_factory=list)
    """Values in masks of label ids."""
    mask_colors: list[_Color] = Field(default_factory=list)
    """Colors in painted masks; empty: `color`."""
    labels: list[_Label] = Field(default_factory=list)
    """Labels in polygon annotations, in addition to `name`."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("should have no control characters")
        return name


class ClassMap(StrictModel):
    """The classes of a data set; the id of a class is its position in `classes`."""

    void: str | None
    ignored_label_ids: list[_LabelId]
    unknown_label_ids: str
    """error, ignore or a class: the meaning of other label ids, colors and labels."""
    classes: Annotated[list[LabelClass], Field(min_length=1, max_length=IGNORE_INDEX - 1)]
    ignored_colors: list[_Color] = Field(default_factory=list)
    """Colors in painted masks that are excluded from the loss and the metrics."""
    ignored_labels: list[_Label] = Field(default_factory=list)
    """Labels in polygon annotations that are excluded from the loss and the metrics."""
    background: str | None = None
    """ignore or a class: the meaning of pixels that no polygon covers."""

    @model_validator(mode="after")
    def _check_names_and_ids(self) -> "ClassMap":
        names = self.names
        _require_unique("name", names, "used")
        _require_unique("label id", [*self._class_label_ids(), *self.ignored_label_ids])
        _require_unique("label", [*self._class_labels(), *self.ignored_labels])
        colors = [color for entry in self.classes for color in entry.mask_colors]
        _require_unique("color", [tuple(color) for color in (*colors, *self.ignored_colors)])
        if self.void is not None and self.void not in names:
            raise ValueError(f"void: no class is named {self.void!r}; use one of {names}")
        if self.unknown_label_ids not in (*_UNKNOWN_CHOICES, *names):
            raise ValueError(
                f"unknown_label_ids: {self.unknown_label_ids!r} is not error, ignore or a class"
            )
        if self.background not in (None, _IGNORE, *names):
            raise ValueError(f"background: {self.background!r} is not ignore or a class")
        return self

    def _class_label_ids(self) -> list[int]:
        return [label_id for entry in self.classes for label_id in entry.label_ids]

    def _class_labels(self) -> list[str]:
        return [text for entry in self.classes for text in {entry.name, *entry.labels}]

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
    def unknown_class_id(self) -> int | None:
        """Class id or IGNORE_INDEX of label ids, colors and labels that the map does not list.

        None if they are an error.
        """
        return None if self.unknown_label_ids == "error" else self._id(self.unknown_label_ids)

    @property
    def background_class_id(self) -> int | None:
        """Class id or IGNORE_INDEX of pixels that no polygon covers, None if it is not given."""
        return None if self.background is None else self._id(self.background)

    def _id(self, name: str) -> int:
        return IGNORE_INDEX if name == _IGNORE else self.names.index(name)

    @property
    def colors(self) -> np.ndarray:
        """RGB colors, (C, 3) uint8."""
        return np.array([entry.color for entry in self.classes], dtype=np.uint8)

    @property
    def hex_colors(self) -> list[str]:
        """Color of each class as #rrggbb."""
        return ["#{:02x}{:02x}{:02x}".format(*entry.color) for entry in self.classes]

    def label_ids(self) -> np.ndarray:
        """Label id to write for each class, (C,) uint8, or uint16 if one is above 255.

        It is the first label id of the class, or the smallest unused one if the class has none. In
        a map without any label ids, it is the class id.
        """
        taken = {*self._class_label_ids(), *self.ignored_label_ids}
        free = next((label_id for label_id in range(NUM_LABEL_IDS) if label_id not in taken), 0)
        firsts = [entry.label_ids[0] if entry.label_ids else free for entry in self.classes]
        if not self._class_label_ids():
            firsts = list(range(self.num_classes))
        return np.array(firsts, dtype=np.uint8 if max(firsts) < 256 else np.uint16)

    def table(self, num_label_ids: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Build the lookup table from label ids to class ids.

        Args:
            num_label_ids: N, 256 for masks of 8 bits or 65536 for masks of 16 bits.

        Returns:
            class_ids: (N,) uint8, class id or IGNORE_INDEX of each label id.
            known: (N,) bool, False for label ids that are an error in a mask.
        """
        default = self.unknown_class_id
        class_ids = np.full(NUM_LABEL_IDS, IGNORE_INDEX if default is None else default, np.uint8)
        known = np.full(NUM_LABEL_IDS, default is not None)
        for class_id, entry in enumerate(self.classes):
            class_ids[entry.label_ids] = class_id
            known[entry.label_ids] = True
        class_ids[self.ignored_label_ids] = IGNORE_INDEX
        known[self.ignored_label_ids] = True
        return class_ids[:num_label_ids], known[:num_label_ids]

    def label_class_ids(self) -> dict[str | int, int]:
        """Return the class id or IGNORE_INDEX of each text label and each label id."""
        found: dict[str | int, int] = dict.fromkeys(
            [*self.ignored_labels, *self.ignored_label_ids], IGNORE_INDEX
        )
        for class_id, entry in enumerate(self.classes):
            found |= dict.fromkeys([entry.name, *entry.labels, *entry.label_ids], class_id)
        return found

    def color_class_ids(self) -> dict[Color, int]:
        """Return the class id or IGNORE_INDEX of each color in painted masks, in class order.

        Raises:
            InputError: two classes have the same color.
        """
        pairs = [
            (color, class_id)
            for class_id, entry in enumerate(self.classes)
            for color in entry.mask_colors or [entry.color]
        ]
        found: dict[Color, int] = {}
        for color, class_id in [*pairs, *((color, IGNORE_INDEX) for color in self.ignored_colors)]:
            red, green, blue = color
            first = found.setdefault((red, green, blue), class_id)
            if first != class_id:
                second = "ignored_colors" if class_id == IGNORE_INDEX else self.names[class_id]
                raise InputError(
                    f"remap.classes: {color} is the color of both {self.names[first]} and "
                    f"{second}; give each class its own color or mask_colors in the class map"
                )
        return found


def _require_unique(kind: str, values: Iterable[Hashable], verb: str = "assigned") -> None:
    """Raise ValueError if one of the values of a class map appears twice."""
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            shown = list(value) if isinstance(value, tuple) else repr(value)
            raise ValueError(f"classes: {kind} {shown} is {verb} more than once")
        seen.add(value)


def find_class_map(name: str, folder: Path) -> Path:
    """Find the class map `name`: `folder`/NAME.yaml, or the path of any YAML file.

    Raises:
        InputError: there is no such file, or DVC did not copy it because Git does not track it.
    """
    path = find_tracked_file("remap.classes", (folder / f"{name}.yaml", Path(name)), folder)
    if path is None:
        known = sorted(path.stem for path in folder.glob("*.yaml"))
        choices = ", ".join([*known, "or " * bool(known) + "the path of a YAML file"])
        raise InputError(f"remap.classes: no class map {name!r}; use {choices}")
    return path


def read_class_map(path: Path) -> ClassMap:
    """Read the class map in the YAML file `path`. Raises InputError that names file and key."""
    return validate(ClassMap, read_yaml(path), path)
