"""Hostile tar archives, zip archives with names in other encodings, and lists of ids."""

import gzip
import json
import random
import tarfile
from pathlib import Path

from roadseg.prepare.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from tests.fuzz.archives import make_case, make_member, odd_names, pack, read_members
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.mutation import INTERESTING, mutate_bytes, truncate_bytes
from tests.fuzz.workspace import SPLIT, SPLIT_FILE, copy_in, write_old_outputs

BLOCK = tarfile.BLOCKSIZE
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
FIELDS = ((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8))
"""Offset and length of fields of a header: name, mode, uid, size, date, type, link, magic."""
TYPES = (*b"\x0001234567xgXSLKDMNVA", 0xFF)
WORDS = (b"77777777777", b"-1", b"00000000000", b"\xff" * 12, b"\x80" + b"\0" * 10 + b"\1", b"9e9")
PAX = (
    {"size": "-5"},
    {"size": "99999999999999999999"},
    {"size": "x"},
    {"path": "../evil.png"},
    {"path": "a\0b"},
    {"path": ""},
    {"GNU.sparse.map": "0,1,2,3", "GNU.sparse.major": "1"},
    {"hdrcharset": "BINARY", "comment": "x" * 5000},
)
ENCODINGS = ("cp932", "gbk", "big5", "cp949", "cp1252", "cp850", "cp1251", "utf-8", "latin-1")
TEXTS = (
    "表ソ能",
    "数据集",
    "圖片",
    "사진",
    "größe",
    "фото",
    "e\u0301",
    "\u30c6\u3099",
    "a\\b",
    "12:30",
)


def pack_tar(rng: random.Random) -> list[bytes]:
    """Pack the images of the valid workspace; return the blocks of each member with its headers."""
    kind, blocks = rng.choice(FORMATS), []
    for info, content in read_members():
        entry = tarfile.TarInfo(info.filename)
        entry.size = len(content)
        if rng.random() < 0.1 and kind == tarfile.PAX_FORMAT:
            entry.pax_headers = rng.choice(PAX)
        padding = bytes(-len(content) % BLOCK)
        blocks.append(entry.tobuf(kind, "utf-8", "surrogateescape") + content + padding)
    return blocks


def make_tar_case(rng: random.Random, work: Path, data: bytes) -> Case:
    contents = [content for _, content in read_members()]
    data = gzip.compress(data, 1, mtime=0) if rng.random() < 0.4 else data
    return make_case(work, data, [*contents, b"", b"x"])


def change_header(rng: random.Random, block: bytes) -> bytes:
    """Overwrite a field of the first header, and usually correct the checksum."""
    header = bytearray(block[:BLOCK])
    offset, length = rng.choice(FIELDS)
    value = rng.choice((rng.choice(WORDS), rng.randbytes(length), bytes([rng.choice(TYPES)])))
    header[offset : offset + min(length, len(value))] = value[:length]
    if rng.random() < 0.9:
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + block[BLOCK:]


def change_headers(rng: random.Random, work: Path) -> Case:
    blocks = pack_tar(rng)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(blocks))
        blocks[at] = change_header(rng, blocks[at])
    return make_tar_case(rng, work, b"".join(blocks) + bytes(2 * BLOCK))


def damage_gzip(rng: random.Random, work: Path) -> Case:
    """Damage a compressed archive; the CRC shows changed content."""
    data = gzip.compress(b"".join(pack_tar(rng)) + bytes(2 * BLOCK), 1, mtime=0)
    data = rng.choice((truncate_bytes, mutate_bytes))(rng, data)
    return make_case(work, data, [content for _, content in read_members()])


def add_odd_members(rng: random.Random, work: Path) -> Case:
    """Add members with odd names, types and extended headers of any size."""
    blocks = pack_tar(rng)
    folder = rng.choice((TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES))
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(odd_names(folder, work.parent / "outside.png"))
        entry = tarfile.TarInfo(name)
        entry.type = bytes([rng.choice(TYPES)])
        content = rng.choice((b"", b"x", b"12 path=../a\n", b"9" * 4000, b"2 " * 3000 + b"="))
        entry.size = rng.choice((len(content), len(content), *INTERESTING))
        entry.linkname = rng.choice(("", "/etc/passwd", "../../outside.png"))
        header = entry.tobuf(rng.choice(FORMATS[1:]), "utf-8", "surrogateescape")
        member = header + content + bytes(-len(content) % BLOCK)
        blocks.insert(rng.randrange(len(blocks) + 1), member)
    end = rng.choice((2 * BLOCK, 2 * BLOCK, 0, BLOCK, 100, 9 << 20))
    return make_tar_case(rng, work, b"".join(blocks) + bytes(end))


def encode_names(rng: random.Random, work: Path) -> Case:
    """Pack a zip with names in another encoding, mostly without the flag of UTF-8."""
    members, renamed = read_members(), {}
    for i, (info, content) in enumerate(members):
        if rng.random() < 0.2:
            folder, _, file = info.filename.rpartition("/")
            text = rng.choice(TEXTS)
            path = rng.choice((f"{folder}/{text}{file}", f"{text}/{file}", f"{folder}\\{text}.png"))
            name = path.encode(rng.choice(ENCODINGS), "replace")
            name = name if rng.random() < 0.9 else mutate_bytes(rng, name, 1)
            placeholder = f"{i:03}-".ljust(len(name), "-")
            renamed[placeholder.encode()] = name
            members[i] = make_member(placeholder), content
    data = pack(members)
    for placeholder_name, name in renamed.items():
        data = data.replace(placeholder_name, name)
    return make_case(work, data, [content for _, content in members])


def write_id_lists(rng: random.Random, work: Path) -> Case:
    """Name a text file of ids that are valid, unknown, repeated or not text."""
    copy_in(work, "data/prepared", "params.yaml")
    ids = [path.stem for path in sorted((work / "data/prepared/masks").iterdir())]
    odd = (
        "",
        "#",
        "# x",
        " ",
        "\ufeff",
        "\u2028",
        "../a",
        "a" * 9000,
        "\x00",
        "\x1b[31m",
        "\ud800",
    )
    chosen = [rng.choice((*ids, *ids, rng.choice(odd))) for _ in range(rng.randint(0, 5))]
    data = rng.choice(("\n", "\r\n", "\r", " ")).join(chosen).encode("utf-8", "surrogatepass")
    (work / "mine.txt").write_bytes(data if rng.random() < 0.7 else mutate_bytes(rng, data))
    text = (work / "params.yaml").read_text()
    (work / "params.yaml").write_text(text.replace("val_ids:", "val_ids: mine.txt"))
    write_old_outputs(work, SPLIT_FILE)

    def check() -> None:
        split = json.loads((work / SPLIT_FILE).read_text())
        assert sorted(split["train"] + split["val"]) == ids
        assert set(split["val"]) <= set(chosen) | set(ids)
        assert split["train"]
        assert split["val"]

    return Case([SPLIT], ("mine.txt", "split.val_ids"), check)


KINDS: dict[str, CaseBuilder] = {
    "tar headers": change_headers,
    "tar gzip": damage_gzip,
    "tar members": add_odd_members,
    "zip encodings": encode_names,
    "id lists": write_id_lists,
}
