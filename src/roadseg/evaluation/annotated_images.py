"""Annotated images outside of the pipeline, prepared in a temporary folder."""

import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from roadseg.config.class_map import ClassMap
from roadseg.config.params import Data
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.fetch.archive import ARCHIVE
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.source import fetch
from roadseg.prepare.images.masks import MaskEncoding
from roadseg.prepare.layout import TRAIN_IMAGES, TRAIN_MASKS
from roadseg.prepare.remap import remap_dataset
from roadseg.system.errors import InputError


@contextlib.contextmanager
def prepare_annotated_images(
    data: Data, class_map: ClassMap, scale: float
) -> Iterator[PreparedDataset]:
    """Run what the stages fetch and remap do in a temporary folder, which is removed at the end.

    The folder needs room for the images and masks, and for arrays of 4 bytes per pixel.

    Args:
        data: the local source, an absolute path; the patterns of its files; and limits.
        scale: size of the prepared images and masks as a fraction of the originals.

    Raises:
        InputError: as `fetch` and `remap_dataset`; also errors raised in the block name the files
            of the source, and not those in the temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="roadseg-") as name:
        raw, prepared = Path(name, "raw"), Path(name, "prepared")
        try:
            encoding = _fetch(data, raw)
            result = remap_dataset(raw, prepared, class_map, scale, data.max_pixels, encoding)
            if data.color_tolerance:
                print(
                    f"evaluate: --color-tolerance {data.color_tolerance} changed the color of "
                    f"{result.num_approximate:,} of {result.num_original:,} pixels",
                    file=sys.stderr,
                )
            yield PreparedDataset(prepared)
        except InputError as error:
            raise InputError(_use_source_names(str(error), data, raw, prepared)) from None


def _fetch(data: Data, raw: Path) -> MaskEncoding:
    """Copy the images and masks to `raw`; return the encoding of the masks."""
    patterns = FilePatterns(
        images=data.images,
        masks=data.masks,
        test_images=data.test_images,
        skip_unmasked=data.unmasked == "skip",
    )
    limits = Limits.of(data)
    store = DownloadStore(raw.with_name("downloads"), limits.bytes, ARCHIVE)  # the source is local
    encoding = MaskEncoding(values=data.mask_values, color_tolerance=data.color_tolerance)
    manifest = fetch(data.source, data.sha256, patterns, limits, {}, raw, store, set(), encoding)
    if manifest.num_unmasked:
        count = f"{manifest.num_unmasked:,}"
        print(f"evaluate: left out {count} images without a mask", file=sys.stderr)
    return encoding


def _use_source_names(text: str, data: Data, raw: Path, prepared: Path) -> str:
    """Replace paths in the temporary folder by the names that the files have in the source."""
    patterns = {str(raw / TRAIN_IMAGES): data.images, str(raw / TRAIN_MASKS): data.masks}
    copies = rf"({'|'.join(map(re.escape, patterns))})/([^/:]+)\.\w+"

    def source_name(copy: re.Match[str]) -> str:
        pattern, image_id = patterns[copy[1]], copy[2]
        name = f"{data.source}/{pattern}"
        is_path = re.sub("[^*{}]", "", pattern.replace("{id}", "")) == ""
        return name.replace("{id}", image_id) if is_path else f"{name}, image {image_id}"

    return re.sub(copies, source_name, text).replace(str(prepared), data.source)
