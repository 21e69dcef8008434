"""Find annotation files that describe many images each: COCO's JSON and CVAT's XML."""

import html
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

from roadseg.config.file_pattern import IMAGE_SUFFIXES
from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.layouts.names import (
    File,
    find_split,
    split_off_common,
    split_words,
)
from roadseg.prepare.discovery.layouts.pairing import Candidate
from roadseg.prepare.discovery.layouts.probes import text_kind
from roadseg.prepare.discovery.layouts.templates import (
    LOCAL_FIELD,
    Matches,
    PairTemplate,
    Parts,
    join_parts,
    read_fields,
    replace_text,
)

_MAX_PER_FOLDER = 16
"""JSON or XML files in a directory; if there are more, each of them belongs to one image."""
_MAX_FILES = 48
"""JSON and XML files that are looked into."""
_MAX_SAME_NAME = 100
"""Images of one name in different directories that are compared."""
_MAX_BYTES = 128 << 20
"""Bytes that are read of each; COCO lists the images first."""
_NAMES = {
    "coco": re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")'),
    "cvat": re.compile(rb'<image\s[^<>]*?\bname="([^"<>]*)"'),
}


class _Annotations(NamedTuple):
    file: File
    kind: Literal["coco", "cvat"]
    images: list[File]
    """The images that it describes and that exist."""
    num_missing: int
    """Images that it describes and that do not exist."""


def find_shared_annotations(files: Sequence[File], dataset: DatasetFiles) -> list[Candidate]:
    """Return the groups of annotation files, such as those of COCO's two splits."""
    texts = {file.name: file for file in _select(files)}
    images: dict[str, list[File]] = defaultdict(list)
    for file in files if texts else ():
        if file.suffix in IMAGE_SUFFIXES:
            images[file.name.rpartition("/")[2]].append(file)
    groups: dict[tuple[str, str], list[_Annotations]] = defaultdict(list)
    for name, data in dataset.read_each(texts, _MAX_BYTES):
        kind = text_kind(data)
        if kind == "coco" or kind == "cvat":
            names_in_it = list(_image_names(data, kind))
            described = _find_images(texts[name], names_in_it, images)
            if described:
                missing = len(set(names_in_it)) - len(described)
                key = kind, _name_without_split(texts[name].base)
                groups[key].append(_Annotations(texts[name], kind, described, missing))
    return [_build_candidate(sorted(group), files) for _, group in sorted(groups.items())]


def _select(files: Sequence[File]) -> list[File]:
    """Return the JSON and XML files that are few in their directory."""
    folders: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in files:
        if file.suffix in (".json", ".xml"):
            folders[file.folder, file.suffix].append(file)
    few = [members for members in folders.values() if len(members) <= _MAX_PER_FOLDER]
    return [file for members in few for file in members][:_MAX_FILES]


def _image_names(data: bytes, kind: Literal["coco", "cvat"]) -> Iterator[str]:
    """Yield the image names in an annotation file, which may be damaged or cut off."""
    for found in _NAMES[kind].finditer(data):
        text = found[1].decode("utf-8", "replace")
        try:
            name = str(json.loads(text)) if kind == "coco" else html.unescape(text)
        except ValueError:
            continue
        yield unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def _find_images(
    text: File, names: Iterable[str], images: Mapping[str, Sequence[File]]
) -> list[File]:
    """Return the files whose paths end in `names`; of several, the one in a similar directory."""
    words = set(split_words(text.base))
    similarity = cache(lambda folder: len(words & set(split_words(folder))))
    found: dict[File, None] = {}
    for name in names:
        same = images.get(name.rpartition("/")[2], ())[:_MAX_SAME_NAME]
        same = [file for file in same if f"/{file.name}".endswith(f"/{name}")]
        if same:
            found[max(same, key=lambda file: similarity(file.folder))] = None
    return list(found)


def _name_without_split(base: str) -> str:
    """Replace numbers and the names of splits, in which the files of one group differ."""
    words = split_words(base)
    return "".join("\0" if word.isdigit() or find_split(word) else word for word in words)


def _build_candidate(group: Sequence[_Annotations], files: Sequence[File]) -> Candidate:
    """Return the template of annotation files and the images that they describe."""
    described = {file: entry.file for entry in group for file in entry.images}
    depths = Counter(len(file.folders) for file in described)
    depth = depths.most_common(1)[0][0]
    members = [[f.folders for f in entry.images if len(f.folders) == depth] for entry in group]
    names: list[Parts] = []
    paths: list[Parts] = [(entry.file.base,) for entry in group]
    num_folders = 0
    for place in range(depth):
        values = [sorted({folders[place] for folders in entry}) for entry in members]
        if len({text for texts in values for text in texts}) == 1:
            names.append((values[0][0],))
            continue
        name: Parts = (num_folders,)
        if all(len(texts) == 1 for texts in values):
            name, paths = _share_field(num_folders, [texts[0] for texts in values], paths)
        names.append(name)
        num_folders += 1
    if len(set(paths)) > 1:
        paths = [_make_field(LOCAL_FIELD, [entry.file.base for entry in group])[0]]
    if not all(read_fields(paths[0], entry.file) or len(group) == 1 for entry in group):
        return _build_candidate([max(group, key=lambda entry: len(entry.images))], files)
    suffixes = frozenset(IMAGE_SUFFIXES), frozenset({group[0].file.suffix})
    image = join_parts([*names, (num_folders,)])
    template = PairTemplate(image, paths[0], num_folders, *suffixes, 0)
    fits = [f for f in files if f.suffix in IMAGE_SUFFIXES and read_fields(image, f)]
    pairs = [(file, described[file]) for file in fits if file in described]
    unmasked = [file for file in fits if file not in described]
    return Candidate(
        *(template, group[0].kind, True),
        matches=Matches(pairs, unmasked),
        num_missing=sum(entry.num_missing for entry in group),
    )


def _share_field(
    field: int, texts: Sequence[str], paths: Sequence[Parts]
) -> tuple[Parts, list[Parts]]:
    """Make the part in which the directories `texts` differ a field, also in `paths`.

    `paths` are those of the annotation files; the part may be in them twice, as two fields.
    """
    name, middles = _make_field(field, texts)
    replaced = list(paths)
    for number in (field, LOCAL_FIELD + 1 + field):
        replaced = [replace_text(p, m, number) for p, m in zip(replaced, middles, strict=True)]
        if len(set(replaced)) == 1:
            return name, replaced
    return name, list(paths)


def _make_field(field: int, texts: Sequence[str]) -> tuple[Parts, list[str]]:
    """Return the parts of names that differ in one field, and the text of the field in each."""
    head, middles, tail = split_off_common(texts)
    return tuple(part for part in (head, field, tail) if part != ""), middles
