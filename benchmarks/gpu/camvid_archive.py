"""A zip file in CamVid's layout, prepared for training without DVC.

`python -m benchmarks.gpu.camvid_archive IN.zip OUT.zip` writes a smaller copy with JPEG images of
quality 95, for a machine to which little data can be sent; the masks stay PNG.
"""

import io
import sys
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from PIL import Image

from roadseg.config.class_map import read_class_map
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.prepare.layout import FOLDERS, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.prepare.remap import remap_dataset
from roadseg.provenance.source_code import ROOT
from roadseg.system.errors import InputError

_PARTS = ("train", "val")
_QUALITY = 95


def prepare_archive(path: Path, folder: Path) -> tuple[PreparedDataset, Split, str]:
    """Prepare the archive at `path` in `folder`.

    Returns:
        The data set at its full size, the official split, and the numbers of files by format.

    Raises:
        InputError: an image or mask has no counterpart, or a part has no images.
    """
    ids: dict[str, list[str]] = {part: [] for part in _PARTS}
    formats: Counter[str] = Counter()
    for name in FOLDERS:
        (folder / "raw" / name).mkdir(parents=True)
    with zipfile.ZipFile(path) as archive:
        for member in map(PurePosixPath, archive.namelist()):
            part = member.parent.name.removesuffix("annot")
            if part not in _PARTS or member.suffix not in (".png", ".jpg"):
                continue
            is_mask = member.parent.name != part
            place = folder / "raw" / (TRAIN_MASKS if is_mask else TRAIN_IMAGES)
            (place / member.name).write_bytes(archive.read(str(member)))
            if not is_mask:
                ids[part].append(member.stem)
                formats[member.suffix[1:].upper()] += 1
    if missing := [part for part in _PARTS if not ids[part]]:
        raise InputError(f"{path}: no images in {', '.join(missing)}/; is this CamVid's layout?")
    class_map = read_class_map(ROOT / "classes" / "camvid11.yaml")
    remap_dataset(folder / "raw", folder / "prepared", class_map, 1.0)
    split = Split(train=sorted(ids["train"]), val=sorted(ids["val"]), test=[])
    return PreparedDataset(folder / "prepared"), split, f"{_describe(formats)} images"


def compress_images(source: Path, target: Path) -> None:
    """Copy the archive `source` to `target`, with JPEG images instead of PNG."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            member, content = PurePosixPath(name), old.read(name)
            if member.parent.name in _PARTS and member.suffix == ".png":
                buffer = io.BytesIO()
                image = Image.open(io.BytesIO(content)).convert("RGB")
                image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
                name, content = str(member.with_suffix(".jpg")), buffer.getvalue()
            if not name.endswith("/"):
                new.writestr(name, content)


def _describe(formats: Counter[str]) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in sorted(formats.items()))


if __name__ == "__main__":
    compress_images(Path(sys.argv[1]), Path(sys.argv[2]))
