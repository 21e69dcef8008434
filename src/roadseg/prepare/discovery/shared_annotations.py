"""Find annotation files that describe many images each: COCO's JSON and CVAT's XML."""

import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.pairing import Candidate
from roadseg.prepare.discovery.probes import probe_text
from roadseg.prepare.discovery.templates import (
    IMAGE_SUFFIXES,
    File,
    Matches,
    PairTemplate,
    Parts,
    join_parts,
    read_fields,
    split_off_common,
)
from roadseg.prepare.discovery.words import find_split, split_words

_MAX_PER_FOLDER = 16
"""JSON or XML files in a directory; if there are more, each of them belongs to one image."""
_MAX_FILES = 48
"""JSON and XML files that are looked into."""
_MAX_BYTES = 256 << 20
"""Bytes that are read of each; COCO lists the images first."""
_NAMES = {
    "coco": re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")'),
    "cvat": re.compile(rb'<image\s[^<>]*?\bname="([^"<>]*)"'),
}


class _Annotations(NamedTuple):
    file: File
    format: Literal["coco", "cvat"]
    images: list[File]
    """The images that it describes and that exist."""


def find_shared_annotations(files: Sequence[File], dataset: DatasetFiles) -> list[Candidate]:
    """Return the groups of annotation files, such as those of COCO's two splits.

    Args:
        files: images and text files, sorted by name.
        dataset: reads the text files.
    """
    texts = {file.name: file for file in _select(files)}
    images: dict[str, list[File]] = defaultdict(list)
    for file in files if texts else ():
        if file.suffix in IMAGE_SUFFIXES:
            images[file.name.rpartition("/")[2]].append(file)
    groups: dict[tuple[str, str], list[_Annotations]] = defaultdict(list)
    for name, data in dataset.read_each(texts, _MAX_BYTES):
        kind = probe_text(data).format
        if kind == "coco" or kind == "cvat":
            described = _find_images(texts[name], _image_names(data, kind), images)
            if described:
                key = kind, _name_without_split(texts[name].base)
                groups[key].append(_Annotations(texts[name], kind, described))
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
        yield name.replace("\\", "/").removeprefix("./")


def _find_images(
    text: File, names: Iterator[str], images: Mapping[str, Sequence[File]]
) -> list[File]:
    """Return the files of image names; of equal names, the one with a similar directory."""
    words, found = set(split_words(text.base)), {}
    for name in names:
        same = images.get(name.rpartition("/")[2], ())
        nested = [file for file in same if f"/{file.name}".endswith(f"/{name}")]
        if nested or same:
            best = max(nested or same, key=lambda f: len(words & set(split_words(f.folder))))
            found[best.name] = best
    return list(found.values())


def _name_without_split(base: str) -> str:
    """Replace numbers and the names of splits, in which the files of one group differ."""
    words = split_words(base)
    return "".join("\0" if word.isdigit() or find_split(word) else word for word in words)


def _build_candidate(group: Sequence[_Annotations], files: Sequence[File]) -> Candidate:
    """Return the template of annotation files and the images that they describe."""
    described = {file.name: entry.file for entry in group for file in entry.images}
    depths = Counter(len(file.folders) for entry in group for file in entry.images)
    depth = depths.most_common(1)[0][0]
    members = [[f.folders for f in entry.images if len(f.folders) == depth] for entry in group]
    names: list[Parts] = []
    paths: list[Parts] = [(entry.file.base,) for entry in group]
    num_fields = 0
    for place in range(depth):
        values = [{folders[place] for folders in entry} for entry in members]
        if len(set.union(*values)) == 1:
            names.append(tuple(values[0]))
            continue
        cores = [value for entry in values for value in entry]
        part: Parts = (num_fields,)
        if all(len(entry) == 1 for entry in values):
            head, cores, tail = split_off_common(cores)
            part = tuple(text for text in (head, num_fields, tail) if text != "")
            replaced = [_replace(p, c, num_fields) for p, c in zip(paths, cores, strict=True)]
            paths = replaced if len(set(replaced)) == 1 else paths
        names.append(part)
        num_fields += 1
    num_folders = num_fields
    if len(set(paths)) > 1:
        head, _, tail = split_off_common([entry.file.base for entry in group])
        paths = [tuple(text for text in (head, num_fields + 1, tail) if text != "")]
    template = PairTemplate(
        join_parts([*names, (num_fields,)]),
        paths[0],
        num_folders,
        IMAGE_SUFFIXES,
        frozenset({group[0].file.suffix}),
        0,
    )
    fits = [f for f in files if f.suffix in IMAGE_SUFFIXES and read_fields(template.image, f)]
    pairs = [(file, described[file.name]) for file in fits if file.name in described]
    unmasked = [file for file in fits if file.name not in described]
    return Candidate(template, group[0].format, True, matches=Matches(pairs, unmasked, []))


def _replace(path: Parts, text: str, field: int) -> Parts:
    """Replace `text` in the literal parts of a path by a field."""
    replaced: list[str | int] = []
    for part in path:
        if isinstance(part, int) or not text or text not in part:
            replaced.append(part)
        else:
            head, _, tail = part.rpartition(text)
            replaced += [entry for entry in (head, field, tail) if entry != ""]
    return tuple(replaced)
