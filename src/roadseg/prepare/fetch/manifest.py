"""data/raw/manifest.json: origin, checksum and content of the fetched dataset."""

from pathlib import Path

from roadseg.config.json_files import read_model
from roadseg.config.schema import StrictModel

MANIFEST = "manifest.json"


class Manifest(StrictModel):
    """A dataset that was fetched and checked."""

    source: str
    """`data.source` of params.yaml, of a URL without user name, password and query."""
    bytes: int
    """Size of the archive, or of all files of a directory."""
    sha256: str
    """SHA-256 of the archive; of a directory, `folder_sha256`."""
    num_train: int
    """Images with masks."""
    num_test: int
    """Test images, and images that are only rendered."""
    num_test_masks: int = 0
    """Test images that have a mask; not set if there are none."""
    num_unmasked: int = 0
    """Images that `data.unmasked: skip` has left out; not set if there are none."""
    train_sizes: dict[str, int]
    """Number of images with masks by HEIGHTxWIDTH in pixels."""
    license: str


def read_manifest(raw: Path) -> Manifest:
    """Read the manifest of the dataset in the directory `raw`.

    Raises:
        InputError: the file is missing or invalid.
    """
    return read_model(Manifest, raw / MANIFEST)
