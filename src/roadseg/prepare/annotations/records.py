"""Common parts of the readers: untrusted JSON, and the record of one annotated image."""

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from roadseg.prepare.annotations.shapes import Shape
from roadseg.system.errors import InputError

Side = Annotated[int, Field(ge=1, le=1_000_000)]
"""Height or width of an image, pixels."""


class Record(BaseModel):
    """Base class of entries of annotation files, which may have more keys than are read."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class ImageRecord(Record):
    """Name and size of an image in a file that describes many."""

    file_name: str
    height: Side
    width: Side


@dataclass(frozen=True)
class AnnotatedImage:
    """An image in an annotation file with its shapes in drawing order."""

    file_name: str
    """As in the annotation file; empty if the file describes one image."""
    height: int
    width: int
    shapes: Sequence[Shape]


def read_json_object(
    data: bytes, name: str, convert: Callable[[dict[str, Any]], Any] = lambda value: value
) -> dict[str, Any]:
    """Parse untrusted JSON whose top level is an object; NaN and infinity are left to `Record`.

    Args:
        name: the file, for error messages.
        convert: replaces each object, the inner ones first.

    Raises:
        InputError: not JSON in UTF-8, too deeply nested, or a repeated key.
    """

    def build(pairs: list[tuple[str, Any]]) -> Any:
        value = dict(pairs)
        if len(value) < len(pairs):
            ((repeated, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise InputError(f"{name}: the key {repeated!r} is in one object twice")
        return convert(value)

    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=build)
    except RecursionError:
        raise InputError(f"{name}: JSON is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{name}: not JSON in UTF-8: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{name}: should be a JSON object, as of COCO or LabelMe")
    return value


def normalize(text: str) -> str:
    """Return a text in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", text)
