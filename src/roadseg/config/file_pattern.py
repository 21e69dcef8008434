"""Patterns of file names: how images and masks are found, and how ids are formed.

In a pattern, `*` is any text and `{a,b}` is one of these texts, each within the name of one
directory or file. A field is a part of the id of an image: `{id}` is any text of at least one
character, `{split:train,val}` is one of these texts. Names and patterns are compared in the Unicode
form NFC, so it does not matter whether é is one character or two.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
JPEG_SUFFIXES = (".jpg", ".jpeg")
ANNOTATION_SUFFIXES = (".json", ".txt", ".xml")
SHARED_SUFFIXES = (".json", ".xml")
"""Suffixes of files that may describe many images; their patterns may lack fields."""

_CHARACTER = r"[^/\\\x00-\x1f\x7f\ud800-\udfff]"  # no control characters, no undecodable bytes
_ANY_CHARACTER = "[^/]"
_TOKEN = re.compile(r"(\*|\{[^{}/]*\})")
_FIELD = re.compile(r"\{([A-Za-z_]\w*)(?::(.*))?\}", re.ASCII)
_SUFFIX = re.compile(r"(?P<stem>.+)\.(?:(?P<one>\w+)|\{(?P<many>\w+(?:,\w+)+)\})", re.ASCII)


class PatternMatch(NamedTuple):
    """A name that a pattern matches."""

    values: dict[str, str]
    """The text of each field, NFC."""
    num_literal: int
    """Characters of the name that neither a free field nor * matches."""


class FilePattern:
    """A pattern of paths with slashes, relative to the directory or archive of a data set.

    Raises:
        ValueError: the text is not a pattern. The message begins with "should", for `StrictModel`.
    """

    def __init__(self, text: str) -> None:
        self.text = unicodedata.normalize("NFC", text)
        found = _SUFFIX.fullmatch(self.text)
        if found is None or not _is_relative(self.text):
            raise ValueError("should be a relative path with a suffix, such as img/{id}.{jpg,png}")
        self.stem = found["stem"]
        """The pattern without its suffixes."""
        endings = [found["one"]] if found["one"] else found["many"].split(",")
        self.suffixes = tuple(f".{ending.lower()}" for ending in endings)
        """Possible suffixes in lower case, such as .jpg."""
        fields = [_FIELD.fullmatch(token) for token in _TOKEN.findall(self.text)]
        self.fields = tuple(field[1] for field in fields if field)
        """Names of the fields in their order."""
        self._free = [field[1] for field in fields if field and field[2] is None]
        for name in self.fields:
            if self.fields.count(name) > 1:
                raise ValueError(f"should have each field once, but has {{{name}}} more than once")
        self._expression = re.compile(_to_regex(self.text))

    def match(self, name: str) -> PatternMatch | None:
        """Match a whole path; None if it does not fit."""
        name = unicodedata.normalize("NFC", name)
        found = self._expression.fullmatch(name)
        if found is None:
            return None
        values = _field_values(found)
        wild = sum(len(text) for group, text in found.groupdict().items() if group[:3] == "any")
        return PatternMatch(values, len(name) - wild - sum(len(values[f]) for f in self._free))

    def match_stem(self, name: str) -> tuple[dict[str, str], str] | None:
        """Match a path that may have another suffix or characters that are not allowed.

        Returns:
            the text of each field, and the suffix in lower case; None if the path does not fit.
        """
        found = self._stem_expression.fullmatch(unicodedata.normalize("NFC", name))
        return None if found is None else (_field_values(found), found["suffix"].lower())

    @cached_property
    def _stem_expression(self) -> re.Pattern[str]:
        return re.compile(rf"{_to_regex(self.stem, _ANY_CHARACTER)}(?P<suffix>\.[^./]+)")

    @cached_property
    def levels(self) -> list[re.Pattern[str]]:
        """Expressions for the names of the directories, and of the file as in `match_stem`; NFC."""
        *folders, file = (_to_regex(level, _ANY_CHARACTER) for level in self.stem.split("/"))
        return [*map(re.compile, folders), re.compile(rf"{file}\.[^./]+")]

    def __repr__(self) -> str:
        return f"FilePattern({self.text!r})"


def join_id(values: dict[str, str], fields: Sequence[str]) -> str:
    """Return the id of an image: the values of its fields in the order of the images pattern."""
    return "_".join(values[name] for name in fields)


def image_pattern(text: str) -> FilePattern:
    """Parse data.images or data.test_images; raise ValueError if it is invalid."""
    pattern = FilePattern(text)
    _require_suffixes(pattern, IMAGE_SUFFIXES)
    if not pattern.fields:
        raise ValueError("should have a field such as {id}, which becomes the id of the image")
    return pattern


def mask_pattern(text: str) -> FilePattern:
    """Parse data.masks; raise ValueError if it is invalid."""
    pattern = FilePattern(text)
    _require_suffixes(pattern, (*IMAGE_SUFFIXES, *ANNOTATION_SUFFIXES))
    return pattern


def require_same_fields(images: FilePattern, masks: FilePattern) -> None:
    """Raise ValueError if the id of an image cannot be found from the name of its mask."""
    given, wanted = set(masks.fields), set(images.fields)
    may_lack = set(masks.suffixes) <= set(SHARED_SUFFIXES)
    if not given <= wanted or (given != wanted and not may_lack):
        expected = " and ".join(f"{{{name}}}" for name in images.fields)
        raise ValueError(f"should have the same fields as images: {expected}")


def _require_suffixes(pattern: FilePattern, allowed: Sequence[str]) -> None:
    for suffix in pattern.suffixes:
        if suffix not in allowed:
            raise ValueError(f"should end in {', '.join(allowed[:-1])} or {allowed[-1]}")


def _is_relative(text: str) -> bool:
    choices = [choice for token in _TOKEN.findall(text) for choice in re.split("[{},:]", token)]
    forbidden = {".", "..", "**"} & {*text.split("/"), *choices}
    return "" not in text.split("/") and "\\" not in text and not forbidden


def _field_values(found: re.Match[str]) -> dict[str, str]:
    groups = found.groupdict().items()
    return {name.removeprefix("field_"): text for name, text in groups if name[:6] == "field_"}


def _to_regex(text: str, character: str = _CHARACTER) -> str:
    parts = _TOKEN.split(text)
    return "".join(_token_regex(place, part, character) for place, part in enumerate(parts))


def _token_regex(place: int, part: str, character: str) -> str:
    """Translate a part of a pattern; those at odd places are tokens."""
    if place % 2 == 0:
        if "{" in part or "}" in part:
            raise ValueError("should have a closing brace for each opening one")
        return re.escape(part)
    if part == "*":
        return f"(?P<any{place}>{character}*)"
    field = _FIELD.fullmatch(part)
    if field is None:
        return f"(?:{_choices(part[1:-1], part)})"
    inner = f"{character}+" if field[2] is None else _choices(field[2], part)
    return f"(?P<field_{field[1]}>{inner})"


def _choices(text: str, token: str) -> str:
    choices = text.split(",")
    if "*" in text or not all(choices) or ("," not in text and ":" not in token):
        raise ValueError(f"should have braces like {{id}}, {{a,b}} or {{name:a,b}}, not {token}")
    return "|".join(map(re.escape, choices))
