"""Classes of a data set, as found in its masks, annotations and class tables."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from roadseg.config.class_map import IGNORE_INDEX, ClassMap
from roadseg.config.schema import validate
from roadseg.system.errors import InputError

_MAX_CLASSES = IGNORE_INDEX - 1
_IGNORED_NAMES = {"void", "unlabeled", "unlabelled", "ignore", "ignored", "dontcare"}


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a data set, and how its masks encode them."""

    class_map: ClassMap
    known_as: str | None = None
    """Name of the class map, if it is one of this project."""
    mask_values: Literal["ids", "colors"] = "ids"
    """data.mask_values."""
    color_tolerance: int = 0
    """data.color_tolerance."""
    encoding: str
    """Encoding of the masks in words."""
    notes: tuple[str, ...] = ()
    """Sentences for the user; those that begin with `unsure: ` need a decision or a look."""


@dataclass
class ClassMapDraft:
    """A class map in the making."""

    classes: list[dict[str, Any]] = field(default_factory=list)
    ignored_label_ids: list[int] = field(default_factory=list)
    ignored_colors: list[list[int]] = field(default_factory=list)
    ignored_labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """As in Classes."""

    def add(
        self,
        name: str,
        color: Iterable[int],
        *,
        label_ids: Iterable[int] = (),
        is_painted: bool = False,
    ) -> None:
        """Add a class, or ignore its pixels if its name is that of pixels without a class.

        Args:
            color: RGB; if `is_painted`, masks have this color.
            label_ids: values of the class in masks of label ids.
        """
        color, label_ids = list(color), list(label_ids)
        if not is_ignored(name):
            given = {"name": name, "color": color, "label_ids": label_ids}
            self.classes.append({key: value for key, value in given.items() if value})
            return
        self.ignored_label_ids += label_ids
        if is_painted:
            self.ignored_colors.append(color)
        elif not label_ids:
            self.ignored_labels.append(name)

    def build(self, background: str | None = None) -> ClassMap:
        """Build the class map.

        Raises:
            InputError: there are too many classes, or none.
        """
        if not 1 <= len(self.classes) <= _MAX_CLASSES:
            raise InputError(
                f"{len(self.classes):,} classes found; a class map has 1 to {_MAX_CLASSES}. If the "
                "masks number objects and not classes, name others with --masks"
            )
        optional = {
            "ignored_colors": self.ignored_colors,
            "ignored_labels": self.ignored_labels,
            "background": background,
        }
        required = {
            "void": None,
            "ignored_label_ids": sorted(self.ignored_label_ids),
            "unknown_label_ids": "error",
            "classes": self.classes,
        }
        return validate(ClassMap, required | {k: v for k, v in optional.items() if v})


def is_ignored(name: str) -> bool:
    """True for names that data sets give to pixels without a class."""
    return re.sub(r"[\W_]", "", name.casefold()) in _IGNORED_NAMES
