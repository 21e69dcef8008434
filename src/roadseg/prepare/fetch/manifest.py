"""data/raw/manifest.json: where a data set came from, and what it holds."""

from pathlib import Path

from roadseg.config.json_files import read_model
from roadseg.config.schema import StrictModel

MANIFEST = "manifest.json"


class Manifest(StrictModel):
    """A data set that was fetched and checked."""

    source: str
    """`data.source` of params.yaml."""
    bytes: int
    """Size of the archive, or of all files of a directory."""
    sha256: str
    """Of the archive; of a directory, `folder_sha256`."""
    num_train: int
    """Images with masks."""
    num_test: int
    """Images without masks."""
    train_sizes: dict[str, int]
    """Number of images with masks by HEIGHTxWIDTH in pixels."""
    licence: str


def read_manifest(raw: Path) -> Manifest:
    """Read the manifest of the data set in the directory `raw`.

    Raises:
        InputError: no such file, or another one.
    """
    return read_model(Manifest, raw / MANIFEST)
