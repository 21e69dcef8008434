"""Fetch a dataset: synthetic, downloaded, from a local archive or from a local directory."""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Set
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

from tqdm import tqdm

from roadseg.config.json_files import write_model
from roadseg.config.params import is_url
from roadseg.config.pipeline import require_not_written
from roadseg.prepare.downloads.download import hide_credentials
from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.fetch.annotations import convert_matched_annotations
from roadseg.prepare.fetch.archive import ARCHIVE, unpack
from roadseg.prepare.fetch.camvid import CAMVID, CAMVID_LICENSE, CAMVID_URL, verify_camvid
from roadseg.prepare.fetch.file_patterns import KITTI, FilePatterns, MatchedFiles
from roadseg.prepare.fetch.held_out import move_to_test_set, require_test_masks
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.manifest import MANIFEST, Manifest
from roadseg.prepare.images.masks import LABEL_IDS, MaskEncoding
from roadseg.prepare.layout import TEST_MASKS, TRAIN_IMAGES, TRAIN_MASKS, check_dataset
from roadseg.system.errors import InputError
from roadseg.system.files import (
    atomic_folder,
    attach_path,
    file_sha256,
    list_names,
    repository_path,
)
from streetscenes.dataset import write_dataset

KITTI_URL = "https://s3.eu-central-1.amazonaws.com/avg-kitti/data_semantics.zip"

LICENSES = {
    "sample": "MIT, as this project: generated, no photograph in it",
    "kitti": "CC BY-NC-SA 3.0: attribution, non-commercial, share alike (KITTI, Geiger et al.)",
    "camvid": CAMVID_LICENSE,
}
_URLS = {"kitti": KITTI_URL, "camvid": CAMVID_URL}
_SAMPLE = replace(KITTI, test_masks=f"{TEST_MASKS}/{{id}}.png")
_PATTERNS = {"sample": _SAMPLE, "camvid": CAMVID}
"""Sources whose file names are known, so that `data.images` and the other patterns are not read."""
_OTHER_LICENSE = "as stated by whoever offers it"


class _Origin(NamedTuple):
    """Size and SHA-256 of an archive or a directory, see Manifest."""

    bytes: int
    sha256: str


def fetch(
    source: str,
    sha256: str | None,
    patterns: FilePatterns,
    limits: Limits,
    sample: dict[str, int],
    out: Path,
    store: DownloadStore,
    outputs: Set[str],
    encoding: MaskEncoding = LABEL_IDS,
    select_test: Callable[[Collection[str]], list[str]] | None = None,
) -> Manifest:
    """Copy the dataset `source` to `out`, check it, and write out/manifest.json.

    Args:
        source: `sample`, `kitti`, `camvid`, an http(s) URL, or the path of an archive or a
            directory, relative to the root of the repository.
        sha256: expected SHA-256 of the archive, or `folder_sha256` of a directory or the sample;
            None: it is only recorded.
        patterns: find the files of the source; not used for `sample` and `camvid`.
        limits: limits on the size of the source.
        sample: arguments of `write_dataset`.
        out: directory in KITTI's layout; replaced as a whole, unchanged after an error.
        store: keeps downloaded archives.
        outputs: paths that the pipeline writes; a local source must not be in one of them.
        encoding: of the masks.
        select_test: selects test images among the ids of images with masks; None: none of them.

    Raises:
        InputError: names the file or URL, without credentials, and the fix.
    """
    shown = hide_credentials(source)
    patterns = _PATTERNS.get(source, patterns)
    with atomic_folder(out) as root:
        origin, matched = _copy(source, sha256, patterns, limits, sample, root, store, outputs)
        places = matched.places
        try:
            places |= convert_matched_annotations(root, matched, limits.pixels)
            num_unmasked = matched.num_unmasked + _remove_unmasked(root, matched, patterns)
            dataset = check_dataset(root, limits.pixels, encoding)
            require_test_masks(dataset, patterns)
        except InputError as error:
            text = _use_original_names(str(error), patterns, places)
            raise InputError(f"{shown}: {text}") from None
        if select_test is not None:
            dataset = move_to_test_set(root, dataset, select_test(dataset.train))
        manifest = Manifest(
            source=shown,
            bytes=origin.bytes,
            sha256=origin.sha256,
            num_train=len(dataset.train),
            num_test=len(dataset.test),
            train_sizes=dict(Counter("{}x{}".format(*p.size) for p in dataset.train.values())),
            license=LICENSES.get(source, _OTHER_LICENSE),
        )
        optional = {"num_unmasked": num_unmasked, "num_test_masks": len(dataset.test_pairs)}
        manifest = manifest.model_copy(update={key: n for key, n in optional.items() if n})
        write_model(root / MANIFEST, manifest)
    return manifest


def _remove_unmasked(root: Path, matched: MatchedFiles, patterns: FilePatterns) -> int:
    """Remove images without a mask, and return their number.

    Raises:
        InputError: there are such images, and `patterns` does not allow to skip them.
    """
    masked = {PurePath(name).stem for name in list_names(root / TRAIN_MASKS)}
    unmasked = {
        name: root / place
        for name, place in matched.places.items()
        if PurePath(place).parent == PurePath(TRAIN_IMAGES) and PurePath(place).stem not in masked
    }
    if not masked:
        return 0  # reported by check_dataset
    patterns.require_masks(unmasked)
    for path in unmasked.values():
        path.unlink()
    return len(unmasked)


def _copy(
    source: str,
    sha256: str | None,
    patterns: FilePatterns,
    limits: Limits,
    sample: dict[str, int],
    root: Path,
    store: DownloadStore,
    outputs: Set[str],
) -> tuple[_Origin, MatchedFiles]:
    """Copy the images and masks of `source` into `root`."""
    shown = hide_credentials(source)
    if is_url(source) or source in _URLS:
        with store.file(_URLS.get(source, source), sha256, limits.bytes) as archive:
            digest = archive.name.partition(".")[0]
            return _copy_archive(archive, digest, shown, sha256, patterns, limits, root)
    if source == "sample":
        try:
            write_dataset(root, **sample)
        except BrokenProcessPool:
            raise InputError(
                "sample: a worker process was killed; it may have run out of memory"
            ) from None
        origin = _folder_origin(root, KITTI.files(root))
        ARCHIVE.require_sha256(source, origin.sha256, sha256)
        return origin, MatchedFiles({}, {}, 0)
    require_not_written("data.source", source, outputs)
    path = repository_path(source)
    if path.is_dir():
        return _copy_folder(path, source, sha256, patterns, limits, root, outputs)
    if path.is_file():
        return _copy_archive(path, file_sha256(path), shown, sha256, patterns, limits, root)
    raise InputError(
        f"data.source: {shown!r}: no such file or directory ({repository_path(shown)}); "
        "use sample, kitti, camvid, an http(s) URL, or a path relative to the repository's root"
    )


def _copy_archive(
    archive: Path,
    digest: str,
    shown: str,
    sha256: str | None,
    patterns: FilePatterns,
    limits: Limits,
    root: Path,
) -> tuple[_Origin, MatchedFiles]:
    origin = _Origin(archive.stat().st_size, digest)
    ARCHIVE.require_sha256(shown, origin.sha256, sha256)
    try:
        if shown == "camvid":
            verify_camvid(archive, limits)
        return origin, unpack(archive, root, patterns, limits)
    except InputError as error:  # users do not know the name of a downloaded archive
        raise type(error)(str(error).replace(str(archive), shown)) from None


def _copy_folder(
    folder: Path,
    source: str,
    sha256: str | None,
    patterns: FilePatterns,
    limits: Limits,
    root: Path,
    outputs: Set[str],
) -> tuple[_Origin, MatchedFiles]:
    try:
        matched = patterns.match(patterns.files(folder))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    places = matched.places
    for parent in sorted({PurePath(name).parent for name in places}):  # may be an output
        require_not_written("data.source", str(PurePath(source, parent)), outputs)
    if len(places) > limits.files:
        raise InputError(
            f"{source}: has {len(places):,} files; data.max_files allows {limits.files:,}"
        )
    size = sum((folder / name).stat().st_size for name in places)
    if size > limits.bytes:
        raise InputError(
            f"{source}: has {size:,} bytes; data.max_gigabytes allows {limits.bytes:,}"
        )
    origin = _folder_origin(folder, places)
    ARCHIVE.require_sha256(source, origin.sha256, sha256)
    for kind in matched.folders:
        (root / kind).mkdir(parents=True)
    for name, place in tqdm(places.items(), "copy", unit="file", disable=None):
        with attach_path(root / place):
            shutil.copyfile(folder / name, root / place)
    return origin, matched


def _use_original_names(text: str, patterns: FilePatterns, places: dict[str, str]) -> str:
    """Replace paths in KITTI's layout by the names that the files have in the source."""
    originals = {place: name for name, place in places.items()}
    for kind, pattern in patterns.by_folder().items():
        originals[kind] = kind if pattern == _SAMPLE.by_folder()[kind] else pattern
    expression = "|".join(map(re.escape, sorted(originals, key=len, reverse=True)))
    return re.sub(expression, lambda found: originals[found[0]], text)


def folder_sha256(root: Path, names: Iterable[str]) -> str:
    """Return the SHA-256 of what `sha256sum` prints for the sorted files `names` in `root`."""
    digest = hashlib.sha256()
    for name in sorted(names):
        with (root / name).open("rb") as file:
            file_digest = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{file_digest}  {name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _folder_origin(root: Path, names: Iterable[str]) -> _Origin:
    size = sum((root / name).stat().st_size for name in names)
    return _Origin(size, folder_sha256(root, names))
