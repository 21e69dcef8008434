"""Tar archives: read like zip archives, and hostile or damaged ones are refused."""

import gzip
import hashlib
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from roadseg.prepare.fetch.file_patterns import KITTI
from roadseg.prepare.fetch.source import fetch
from roadseg.system.errors import InputError
from tests.factories import LIMITS, STORE
from tests.prepare.http_server import Answer, Server
from tests.prepare.test_download import server
from tests.prepare.test_download_store import fetch_url
from tests.prepare.test_source import SAMPLE, tree

__all__ = ["server"]
IMAGE = "training/image_2/000001_10.png"
MODES = {".tar": "w:", ".tar.gz": "w:gz", ".tgz": "w:gz", ".zip": "w:gz"}

Member = tuple[tarfile.TarInfo, bytes]


def make_member(name: str, content: bytes = b"x", **fields: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(root: Path, *extra: Member, prefix: str = "", kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Pack the images below `root`, then other members, in an uncompressed archive."""
    paths = sorted(root.rglob("*.png"))
    members = [make_member(f"{prefix}{p.relative_to(root)}", p.read_bytes()) for p in paths]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as opened:
        for info, content in (*members, *extra):
            opened.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def fetch_tar(archive: Path, **limits: int) -> dict[str, bytes]:
    out = archive.parent / "raw"
    fetch(str(archive), None, KITTI, replace(LIMITS, **limits), SAMPLE, out, STORE, set())
    return {name: content for name, content in tree(out).items() if name != "manifest.json"}


@pytest.mark.parametrize("suffix", MODES)
def test_tar_archive_gives_the_same_images_whatever_its_name(raw_images, tmp_path, suffix: str):
    archive = tmp_path / f"data{suffix}"
    with tarfile.open(archive, MODES[suffix]) as opened:
        opened.add(raw_images, "./")
    assert fetch_tar(archive) == tree(raw_images)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_decomposed_names_are_read_in_each_format(raw_images, tmp_path, kind: int):
    """A name of more than 100 bytes is in the prefix field, or in a header of its own."""
    archive = tmp_path / "data.tar"
    archive.write_bytes(pack(raw_images, prefix="cafe\u0301" * 20 + "/", kind=kind))
    assert fetch_tar(archive) == tree(raw_images)


def test_foreign_members_are_skipped(raw_images: Path, tmp_path: Path):
    archive = tmp_path / "data.tar"
    extra = [
        make_member("training/image_2/._000001_10.png"),
        make_member("notes/latest.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        make_member("notes/pipe", b"", type=tarfile.FIFOTYPE),
        make_member("training/image_2/folder.png", b"", type=tarfile.DIRTYPE),
        make_member("a:b.txt"),
    ]
    archive.write_bytes(pack(raw_images, *extra))
    assert fetch_tar(archive) == tree(raw_images)


def remove_end(data: bytes) -> bytes:
    """Remove the blocks of zeros at the end."""
    content = data.rstrip(b"\0")
    return content + bytes(-len(content) % 512)


def set_bytes(name: str, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Overwrite bytes in the header of a member, and correct its checksum."""

    def change(data: bytes) -> bytes:
        at = data.index(name.encode())
        header = bytearray(data[at : at + 512])
        header[offset : offset + len(value)] = value
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return data[:at] + bytes(header) + data[at + 512 :]

    return change


def flip_header(data: bytes) -> bytes:
    at = data.index(IMAGE.encode()) + 110
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def link(kind: bytes) -> Member:
    name = "training/image_2/a.png"
    return make_member(name, b"", type=kind, linkname="/etc/passwd")


PAX_BOMB = make_member("x", b"9" * (2 << 20), type=tarfile.XHDTYPE)
NAME_BOMB = make_member("x", b"a" * (2 << 20), type=tarfile.GNUTYPE_LONGNAME)
BAD_PAX = make_member("x", b"999 path=a\n", type=tarfile.XHDTYPE)
OUTSIDE = "is a path outside the archive"
REFUSED = {
    "parent": ([make_member("../evil.png")], None, OUTSIDE),
    "absolute": ([make_member("/etc/evil.png")], None, OUTSIDE),
    "drive": ([make_member("C:\\evil.png")], None, OUTSIDE),
    "parent in a pax header": ([make_member(f"{'a/' * 90}../b.png")], None, OUTSIDE),
    "symbolic link": ([link(tarfile.SYMTYPE)], None, "a.png is a link or a device"),
    "hard link": ([link(tarfile.LNKTYPE)], None, "a.png is a link or a device"),
    "device": ([link(tarfile.CHRTYPE)], None, "a.png is a link or a device"),
    "twice": ([make_member(IMAGE)], None, f"{IMAGE} is in the archive twice"),
    "backslash": ([make_member("training/image_2/a\\b.png")], None, "does not match"),
    "not UTF-8": (
        [make_member("training/image_2/表.png".encode("cp932").decode("utf-8", "surrogateescape"))],
        None,
        r"not UTF-8, but probably Shift-JIS \(cp932\): 'training/image_2/表.png'; unpack",
    ),
    "sparse": ([make_member("a", b"", type=tarfile.GNUTYPE_SPARSE)], None, "a is sparse; unpack"),
    "sparse, pax": (
        [make_member("a", pax_headers={"GNU.sparse.major": "1"})], None, "a is sparse; unpack"
    ),
    "huge pax header": ([PAX_BOMB], None, "an extended header of 2,097,152 bytes"),
    "huge name": ([NAME_BOMB], None, "an extended header of 2,097,152 bytes"),
    "damaged pax header": ([BAD_PAX], None, "a damaged pax header"),
    "negative size": ([], set_bytes(IMAGE, 124, b"\xff" * 12), "a file of -1 bytes"),
    "negative size of a header": (
        [BAD_PAX], set_bytes("x\0\0", 124, b"\xff" * 12), "an extended header of -1 bytes"
    ),
    "size above all limits": (
        [], set_bytes(IMAGE, 124, b"77777777777\0"), "unpacks to .* data.max_gigabytes allows"
    ),
    "size beyond the end": ([], set_bytes(IMAGE, 124, b"00000777777\0"), "the end is missing"),
    "size of a pax header": (
        [make_member("a", pax_headers={"size": "-5"})], None, "a file of -5 bytes"
    ),
    "damaged header": ([], flip_header, "not a complete tar archive: bad checksum"),
    "no end mark": ([], remove_end, "the end is missing"),
    "cut": ([], lambda data: data[:9999], "the end is missing"),
    "two archives": ([], lambda data: data + data, "there is more after its end mark"),
    "many files": ([make_member(f"b/{i}") for i in range(1000)], None, "data.max_files allows"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_archive_changes_nothing(raw_images: Path, tmp_path: Path, kind: str):
    extra, change, message = REFUSED[kind]
    archive = tmp_path / "data.tar"
    data = pack(raw_images, *extra)
    archive.write_bytes(data if change is None else change(data))
    with pytest.raises(InputError, match=message) as caught:
        fetch_tar(archive)
    assert str(caught.value).startswith(str(archive))
    assert not (tmp_path / "raw").exists()


def damage_checksum(data: bytes) -> bytes:
    return data[:-8] + bytes(4) + data[-4:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data[: len(data) // 2],
            "not a complete tar.gz archive: Compressed file ended",
        ),
        (damage_checksum, "not a complete tar.gz archive: CRC check failed"),
        (lambda data: data + b"junk", "not a complete tar.gz archive: Not a gzipped file"),
        (lambda data: gzip.compress(b"a text"), "not a complete tar.gz archive"),
    ],
)
def test_damaged_gzip_file_is_refused(raw_images: Path, tmp_path: Path, change, message: str):
    archive = tmp_path / "data.tgz"
    archive.write_bytes(change(gzip.compress(pack(raw_images), 1)))
    with pytest.raises(InputError, match=message):
        fetch_tar(archive)


@pytest.mark.parametrize("name", ["training/image_2/000077_10.png", "elsewhere"])
def test_gzip_bomb_is_refused_without_unpacking_it(raw_images: Path, tmp_path: Path, name: str):
    archive = tmp_path / "bomb.tgz"
    head, tail = pack(raw_images).rstrip(b"\0"), make_member(name, bytes(512))[0]
    tail.size = 1 << 33
    archive.write_bytes(
        gzip.compress(head + bytes(-len(head) % 512) + tail.tobuf() + bytes(1 << 20))
    )
    tracemalloc.start()
    with pytest.raises(InputError, match=r"unpacks to 8,5.* bytes; data.max_gigabytes allows"):
        fetch_tar(archive)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_zeros_after_the_end_of_a_gzip_bomb_count_too(raw_images: Path, tmp_path: Path):
    archive = tmp_path / "bomb.tgz"
    archive.write_bytes(gzip.compress(pack(raw_images) + bytes(3 << 20), 1))
    with pytest.raises(InputError, match=r"unpacks to .* bytes; data.max_gigabytes"):
        fetch_tar(archive, bytes=2_000_000)


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07\x01\0", "rar"), (b"BZh91AY", "bzip2"),
     (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")],
)  # fmt: skip
def test_other_archive_formats_are_named(tmp_path: Path, start: bytes, kind: str):
    archive = tmp_path / "data.zip"
    archive.write_bytes(start + bytes(1000))
    with pytest.raises(InputError, match=f"data.zip: {kind} is not supported; unpack it and set"):
        fetch_tar(archive)


@pytest.mark.parametrize(("suffix", "compress"), [(".tar", bytes), (".tar.gz", gzip.compress)])
def test_downloaded_tar_is_kept_under_its_hash(
    server: Server, raw_images: Path, tmp_path: Path, suffix: str, compress
):
    body = compress(pack(raw_images))
    server.answers = [Answer(body=body)]
    manifest = fetch_url(server.url, tmp_path)
    assert fetch_url(server.url, tmp_path) == manifest
    assert len(server.requests) == 1
    assert manifest.sha256 == hashlib.sha256(body).hexdigest()
    kept = [path.name for path in (tmp_path / ".downloads").iterdir() if ".tar" in path.name]
    assert kept == [f"{manifest.sha256}{suffix}"]
