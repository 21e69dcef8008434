"""Hostile zip archives in KITTI's layout, for fetch."""

import io
import random
import struct
import warnings
import zipfile
from pathlib import Path

from roadseg.prepare.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS, check_dataset
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import check_prepared_data
from tests.fuzz.mutation import INTERESTING, mutate_bytes, truncate_bytes
from tests.fuzz.workspace import FETCH, REMAP, copy_in, valid_workspace, write_old_outputs

ARCHIVE = "archive.zip"
LOCAL, DIRECTORY, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# Offset (from the start of the record) and length of each field.
FIELDS = {
    LOCAL: ((4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    DIRECTORY: (
        *((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 4), (24, 4), (28, 2)),
        *((30, 2), (32, 2), (34, 2), (36, 2), (38, 4), (42, 4)),
    ),
    END: ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}
READ, REFUSED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
METHODS = (*READ * 12, *REFUSED)
UNIX_KINDS = (0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000, 0o140000, 0o170000)

Members = list[tuple[zipfile.ZipInfo, bytes]]


def read_members() -> Members:
    """Return the images of the valid workspace, in sorted order."""
    source = valid_workspace() / "pictures"
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    return [(make_member(str(path.relative_to(source))), path.read_bytes()) for path in paths]


def make_member(name: str, method: int = zipfile.ZIP_STORED, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.filename, info.orig_filename = name, name  # ZipInfo() would replace some characters
    info.compress_type, info.external_attr = method, mode << 16
    return info


def pack(members: Members, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about duplicate names
        for info, content in members:
            opened.writestr(info, content)
        opened.comment = comment
    return buffer.getvalue()


def make_case(work: Path, data: bytes, contents: list[bytes], and_remap: bool = False) -> Case:
    """Build a case of fetch; the files that it extracts must be among `contents`."""
    (work / ARCHIVE).write_bytes(data)
    copy_in(work, "params.yaml")
    text = (work / "params.yaml").read_text()
    (work / "params.yaml").write_text(text.replace("source: pictures", f"source: {ARCHIVE}"))
    write_old_outputs(work, "data/raw/", *(["data/prepared/"] if and_remap else []))
    known = set(contents)

    def check() -> None:
        dataset = check_dataset(work / "data/raw", 10**6)
        assert len(dataset.train) >= 1
        for path in (work / "data/raw").glob("*/*/*"):
            assert path.read_bytes() in known, f"{path} is not one of the archive's files"
            original = valid_workspace() / "pictures" / path.relative_to(work / "data/raw")
            if original.exists() and not and_remap:
                assert path.read_bytes() == original.read_bytes(), path
        if and_remap:
            check_prepared_data(work)

    return Case([FETCH, REMAP] if and_remap else [FETCH], (ARCHIVE, "data/raw"), check)


def contents_of(members: Members) -> list[bytes]:
    return [content for _, content in members]


def recompress_members(rng: random.Random) -> Members:
    return [(make_member(i.filename, rng.choice(METHODS)), c) for i, c in read_members()]


def mutate_archive(rng: random.Random, work: Path) -> Case:
    members = recompress_members(rng) if rng.random() < 0.5 else read_members()
    data = pack(members)
    if rng.random() < 0.5:  # only the central directory, which is small
        start = data.index(DIRECTORY)
        return make_case(work, data[:start] + mutate_bytes(rng, data[start:]), contents_of(members))
    return make_case(work, mutate_bytes(rng, data), contents_of(members))


def truncate_archive(rng: random.Random, work: Path) -> Case:
    members = read_members()
    return make_case(work, truncate_bytes(rng, pack(members)), contents_of(members))


def change_fields(rng: random.Random, work: Path) -> Case:
    members = recompress_members(rng) if rng.random() < 0.5 else read_members()
    data = bytearray(pack(members))
    for _ in range(rng.randint(1, 3)):
        record = rng.choice((LOCAL, DIRECTORY, DIRECTORY, END))
        places = [i for i in range(len(data)) if data.startswith(record, i)]
        offset, length = rng.choice(FIELDS[record])
        value = rng.choice((*INTERESTING, rng.randrange(1 << 32), rng.randrange(1 << 16)))
        at = rng.choice(places) + offset
        if rng.random() < 0.3:  # a value close to the original
            value = int.from_bytes(data[at : at + length], "little") + rng.choice((-1, 1, 8))
        data[at : at + length] = (value % (1 << 8 * length)).to_bytes(length, "little")
    return make_case(work, bytes(data), contents_of(members))


def use_odd_names(rng: random.Random, work: Path) -> Case:
    members = read_members()
    content = rng.choice(members)[1]
    folder = rng.choice((TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES))
    outside = work.parent / "outside.png"
    names = (
        *("../outside.png", "../../outside.png", f"{folder}/../../../../outside.png", "..", "."),
        *(str(outside), f"/{outside}", "C:\\outside.png", "c:outside.png", "\\\\a\\b.png", ""),
        *("..\\outside.png", f"{folder}/..\\..\\outside.png", f"{folder}/.png", f"{folder}/ .png"),
        *(f"{folder}/000000_10.PNG", f"{folder}/000000_10.jpg", f"{folder}/000000_10.png"),
        *(f"{folder}/A.png", f"{folder}/a.png", f"{folder.upper()}/000000_10.png", f"{folder}//"),
        *(f"{folder}/é.png", f"{folder}/e\u0301.png", f"{folder}/\u202egnp.exe.png", "a:b.png"),
        *(f"{folder}/a\nb.png", f"{folder}/\x1b[31mred.png", f"{folder}/{'x' * 251}.png"),
        *(f"{folder}/{'x' * 400}.png", f"{folder}/{'é' * 200}.png", f"{'d/' * 3000}a.png"),
        *("__MACOSX/._000000_10.png", f"__MACOSX/{folder}/._a.png", f"{folder}/.DS_Store"),
        *(f"{folder}/Thumbs.db", f"{folder}/sub/a.png", f"{folder}/", f"{folder}/a.png/b.png"),
        *(f"{folder}/CON.png", f"{folder}/a.png ", f"{folder}/a*.png", f"./{folder}/a.png"),
        *(f"top/{folder}/000000_10.png", f"{folder}/000000_10_colors.png", "manifest.json"),
        *(f"{folder}/{{id}}.png", f"{folder}/%s.png", f"{folder}/-rf.png", f"{folder}/~.png"),
    )
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(names)
        at = rng.randrange(len(members) + 1)
        if rng.random() < 0.7:
            members.insert(at, (make_member(name), content))
        else:
            members[at % len(members)] = (make_member(name), members[at % len(members)][1])
    if rng.random() < 0.3:
        top = rng.choice(("data_semantics/", "./", "a b/", "é/", "training/", ".hidden/", "x/y/"))
        members = [(make_member(top + i.filename), c) for i, c in members]
    data = pack(members)
    if rng.random() < 0.2:
        data = data.replace(
            b"000001_10", rng.choice((b"\xff\xfe0001_10", b"../../../", b"\x00" * 9))
        )
    return make_case(work, data, contents_of(members))


def use_odd_members(rng: random.Random, work: Path) -> Case:
    members = recompress_members(rng)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(members))
        info, content = members[at]
        if rng.random() < 0.5:
            info.external_attr = (rng.choice(UNIX_KINDS) | 0o777) << 16 | rng.choice((0, 16))
        if rng.random() < 0.3:
            info.extra = rng.choice((b"\x01\x00\x04\x00" + bytes(4), rng.randbytes(9), b"\x01"))
        if rng.random() < 0.3:
            info.create_system = rng.randrange(256)
        if rng.random() < 0.3:
            content = rng.choice((b"", b"../../../outside", b"/etc/passwd", pack(members[:2])))
        members[at] = info, content
    data = bytearray(pack(members, rng.choice((b"", b"", b"a comment", END * 3))))
    if rng.random() < 0.5:  # flags such as encrypted, patched, streamed, UTF-8
        flags = struct.pack("<H", rng.choice((1, 0x41, 0x20, 8, 0x800, 0x2000, 0xFFFF)))
        for record, offset in ((DIRECTORY, 8), (LOCAL, 6)):
            if rng.random() < 0.8:
                at = data.index(record, rng.randrange(data.rindex(record) + 1)) + offset
                data[at : at + 2] = flags
    return make_case(work, rng.choice((b"", b"", b"junk")) + data, contents_of(members), True)


def change_number_of_files(rng: random.Random, work: Path) -> Case:
    members = read_members()
    kept = rng.sample(members, rng.randrange(len(members) + 1))
    extra = [(make_member(f"other/{i}"), b"") for i in range(rng.choice((0, 0, 5, 300)))]
    data = bytearray(pack(kept + extra))
    if rng.random() < 0.3:
        at = data.rindex(END) + rng.choice((8, 10))
        data[at : at + 2] = rng.choice((0, 1, 5, 0xFFFF)).to_bytes(2, "little")
    return make_case(work, bytes(data), contents_of(members), True)


def make_bomb(rng: random.Random, work: Path) -> Case:
    """Build a small archive that claims to unpack, or does unpack, to much more data."""
    members = read_members()
    at = rng.randrange(len(members))
    info, content = members[at]
    kind = rng.randrange(4)
    if kind == 0:  # zeros: 1000 to 1
        size = rng.choice((1 << 20, 66 << 20))
        members[at] = (make_member(info.filename, zipfile.ZIP_DEFLATED), bytes(size))
    elif kind == 1:  # an image followed by zeros
        members[at] = (make_member(info.filename, zipfile.ZIP_DEFLATED), content + bytes(8 << 20))
    data = bytearray(pack(members))
    if kind >= 2:
        places = [i for i in range(len(data)) if data.startswith(DIRECTORY, i)]
        chosen = places if kind == 2 else [places[at]]
        size = rng.choice((10**6, 10**7, 10**8, 2**31, 2**32 - 2))
        for place in chosen:
            data[place + 24 : place + 28] = size.to_bytes(4, "little")
            if rng.random() < 0.5:
                data[place + 20 : place + 24] = size.to_bytes(4, "little")
    return make_case(work, bytes(data), contents_of(members), True)


def overlap_members(rng: random.Random, work: Path) -> Case:
    """Let several members refer to the same bytes of the archive."""
    members = read_members()
    data = bytearray(pack(members))
    places = [i for i in range(len(data)) if data.startswith(DIRECTORY, i)]
    for _ in range(rng.randint(1, 3)):
        one, other = rng.choice(places), rng.choice(places)
        start, length = rng.choice(((42, 4), (16, 30), (20, 8), (0, 46)))
        data[one + start : one + start + length] = data[other + start : other + start + length]
    return make_case(work, bytes(data), contents_of(members))


KINDS: dict[str, CaseBuilder] = {
    "archive mutated": mutate_archive,
    "archive cut": truncate_archive,
    "archive fields": change_fields,
    "archive names": use_odd_names,
    "archive members": use_odd_members,
    "archive number": change_number_of_files,
    "archive bomb": make_bomb,
    "archive overlap": overlap_members,
}
