"""The file of weights that `model.weights` names, downloaded or local."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from roadseg.prepare.downloads.download import hide_credentials
from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.downloads.file_kind import FileKind
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256

_SAFETENSORS, _PICKLE = _SUFFIXES = ".safetensors", ".pth"


def _suffix(path: Path) -> str:
    with path.open("rb") as file:
        return _SAFETENSORS if _has_safetensors_header(file.read(9)) else _PICKLE


def _may_start(start: bytes) -> bool:
    """True for safetensors, and for the zip and pickle files of torch.save."""
    return start.startswith((b"PK", b"\x80")) or _has_safetensors_header(start)


def _has_safetensors_header(start: bytes) -> bool:
    """True if eight bytes, the length of a JSON object, are followed by that object."""
    return start[8:9] == b"{"


WEIGHTS = FileKind(
    stage="weights",
    description="a file of weights (safetensors or torch.save)",
    source_key="model.weights",
    sha256_key="model.weights_sha256",
    suffixes=_SUFFIXES,
    suffix=_suffix,
    may_start=_may_start,
)


@contextlib.contextmanager
def weights_file(
    source: str | Path, sha256: str | None, store: DownloadStore, limit: int
) -> Iterator[tuple[Path, str]]:
    """Yield the path and the SHA-256 of a file of weights.

    Errors that the block raises get the URL, without credentials, instead of the path.

    Args:
        source: an http(s) URL, or a path.
        sha256: expected SHA-256; None: any.
        store: keeps downloaded files.
        limit: largest number of bytes of a download.

    Raises:
        InputError: there is no such file, the download failed, or the SHA-256 differs.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise InputError(f"model.weights: {source}: no such file")
        digest = file_sha256(source)
        WEIGHTS.require_sha256(str(source), digest, sha256)
        yield source, digest
        return
    with store.file(source, sha256, limit) as path:
        try:
            yield path, path.stem
        except InputError as error:
            raise InputError(str(error).replace(str(path), hide_credentials(source))) from None
