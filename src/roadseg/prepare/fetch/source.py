"""Where the pictures come from: generated, downloaded, a local zip, or a local folder."""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Set
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path, PurePath
from typing import NamedTuple

from tqdm import tqdm

from roadseg.config.json_files import write_model
from roadseg.config.pipeline import require_not_written
from roadseg.prepare.fetch.archive import DamagedArchiveError, unpack
from roadseg.prepare.fetch.download_store import DownloadStore
from roadseg.prepare.fetch.file_patterns import KITTI, FilePatterns
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.manifest import MANIFEST, Manifest
from roadseg.prepare.layout import FOLDERS, check_dataset
from roadseg.system.errors import InputError
from roadseg.system.files import (
    atomic_folder,
    attach_path,
    file_sha256,
    repository_path,
)
from streetscenes.dataset import write_dataset

KITTI_URL = "https://s3.eu-central-1.amazonaws.com/avg-kitti/data_semantics.zip"

LICENCES = {
    "sample": "MIT, as this project: generated, no photograph in it",
    "kitti": "CC BY-NC-SA 3.0: attribution, non-commercial, share alike (KITTI, Geiger et al.)",
}
_OWN_LICENCE = "as stated by whoever offers it"


class _Origin(NamedTuple):
    """Size and SHA-256 of what a data set was made from, as Manifest has them."""

    bytes: int
    sha256: str


def fetch(
    source: str,
    sha256: str | None,
    naming: FilePatterns,
    limits: Limits,
    sample: dict[str, int],
    out: Path,
    store: DownloadStore,
    outputs: Set[str],
) -> Manifest:
    """Bring the data set `source` to `out`, checked and whole, with out/manifest.json.

    Args:
        source: `sample`, `kitti`, an http(s) URL, or the path of a zip or of a folder, counted from
            the repository's root.
        sha256: what the zip must hash to (for a sample or folder: what `folder_sha256` gives);
            None records it only.
        naming: which of the source's files are what; the sample has KITTI's.
        limits: what the source may hold.
        sample: arguments of `write_dataset`.
        out: in KITTI's layout, with the ids for names; replaced as a whole; stays as it was when
            anything is wrong.
        store: keeps the archive of a URL.
        outputs: paths that the pipeline writes, in which no local source may lie.

    Raises:
        InputError: names the file or URL and what would be right.
    """
    with atomic_folder(out) as root:
        origin, places = _bring(source, sha256, naming, limits, sample, root, store, outputs)
        try:
            dataset = check_dataset(root, limits.pixels)
        except InputError as error:
            raise InputError(f"{source}: {_in_its_names(str(error), naming, places)}") from None
        manifest = Manifest(
            source=source,
            bytes=origin.bytes,
            sha256=origin.sha256,
            num_train=len(dataset.train_ids),
            num_test=len(dataset.test_ids),
            train_sizes=dict(Counter(f"{h}x{w}" for h, w in dataset.train_sizes.values())),
            licence=LICENCES.get(source, _OWN_LICENCE),
        )
        write_model(root / MANIFEST, manifest)
    return manifest


def _bring(
    source: str,
    sha256: str | None,
    naming: FilePatterns,
    limits: Limits,
    sample: dict[str, int],
    root: Path,
    store: DownloadStore,
    outputs: Set[str],
) -> tuple[_Origin, dict[str, str]]:
    """Put the pictures of `source` under `root`.

    Returns:
        its origin; name of each file there -> its place below `root`.
    """
    if source.lower().startswith(("http://", "https://")) or source == "kitti":
        url = KITTI_URL if source == "kitti" else source
        with store.archive(url, sha256, limits.bytes) as archive:
            return _from_zip(archive, archive.stem, source, sha256, naming, limits, root)
    if source == "sample":
        try:
            write_dataset(root, **sample)
        except BrokenProcessPool:
            raise InputError("sample: a process that drew was killed; out of memory?") from None
        origin = _folder_origin(root, KITTI.files(root))
        _require_sha256(origin, sha256, source)
        return origin, {}
    require_not_written("data.source", source, outputs)
    path = repository_path(source)
    if path.is_dir():
        return _from_folder(path, source, sha256, naming, limits, root, outputs)
    if path.is_file():
        return _from_zip(path, file_sha256(path), source, sha256, naming, limits, root)
    raise InputError(
        f"data.source: {source!r}: no such file or folder ({path}); "
        "use sample, kitti, an http(s) URL, or a path from the repository's root"
    )


def _from_zip(
    archive: Path,
    digest: str,
    source: str,
    sha256: str | None,
    naming: FilePatterns,
    limits: Limits,
    root: Path,
) -> tuple[_Origin, dict[str, str]]:
    origin = _Origin(archive.stat().st_size, digest)
    _require_sha256(origin, sha256, source)
    try:
        return origin, unpack(archive, root, naming, limits)
    except InputError as error:  # a download's temporary name would tell nobody anything
        raise type(error)(str(error).replace(str(archive), source)) from None


def _from_folder(
    folder: Path,
    source: str,
    sha256: str | None,
    naming: FilePatterns,
    limits: Limits,
    root: Path,
    outputs: Set[str],
) -> tuple[_Origin, dict[str, str]]:
    try:
        places = naming.places(naming.files(folder))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    for parent in sorted({PurePath(name).parent for name in places}):  # source may hold outputs
        require_not_written("data.source", str(PurePath(source, parent)), outputs)
    if len(places) > limits.files:
        raise InputError(
            f"{source}: holds {len(places):,} files; data.max_files allows {limits.files:,}"
        )
    size = sum((folder / name).stat().st_size for name in places)
    if size > limits.bytes:
        raise InputError(
            f"{source}: holds {size:,} bytes; data.max_gigabytes allows {limits.bytes:,}"
        )
    origin = _folder_origin(folder, places)
    _require_sha256(origin, sha256, source)
    for kind in FOLDERS:
        (root / kind).mkdir(parents=True)
    for name, place in tqdm(places.items(), "copy", unit="file", disable=None):
        with attach_path(root / place):
            shutil.copyfile(folder / name, root / place)
    return origin, places


def _in_its_names(text: str, naming: FilePatterns, places: dict[str, str]) -> str:
    """`text` about places in KITTI's layout, with the source's own names for them."""
    theirs = {place: name for name, place in places.items()}
    for kind, pattern in naming.patterns().items():
        theirs[kind] = kind if pattern == KITTI.patterns()[kind] else pattern
    ours = "|".join(map(re.escape, sorted(theirs, key=len, reverse=True)))
    return re.sub(ours, lambda found: theirs[found[0]], text)


def _require_sha256(origin: _Origin, sha256: str | None, source: str) -> None:
    if sha256 is not None and origin.sha256 != sha256:
        raise DamagedArchiveError(
            f"data.sha256: {source} hashes to {origin.sha256}, expected {sha256}; "
            "it is damaged or not what was meant"
        )


def folder_sha256(root: Path, names: Iterable[str]) -> str:
    """SHA-256 over the lines that `sha256sum` prints for the files `names` in `root`, sorted."""
    digest = hashlib.sha256()
    for name in sorted(names):
        with (root / name).open("rb") as file:
            picture = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{picture}  {name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _folder_origin(root: Path, names: Iterable[str]) -> _Origin:
    size = sum((root / name).stat().st_size for name in names)
    return _Origin(size, folder_sha256(root, names))
