"""HTML page of the predictions for all images of a data set; a folder that needs no network.

index.html              the page, with the metrics and errors of each image
thumbnail/N.jpg         image N, reduced
image/N.jpg             image
mask/N.png              palette image of the class ids
prediction/N.png        palette image of the predicted class ids
errors/N.png            wrong pixels in red on the image in gray
probability/N.png       probability of the predicted class, 0..255 for 0..1, grayscale

Files have numbers, because the id of an image need not be a valid file name on other systems.

Shapes: N images in a batch, P images, K classes, H and W pixels.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

from roadseg.config.class_map import ClassMap
from roadseg.config.params import Evaluate
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.evaluate import evaluate
from roadseg.evaluation.image_errors import MAX_CONFUSIONS, ImageErrors, image_errors
from roadseg.inference.colors import WRONG_COLOR, error_map, palette_image
from roadseg.inference.tta import list_views
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError, escape_unprintable
from roadseg.system.files import atomic_folder, attach_path, list_names

INDEX = "index.html"
SUFFIXES = {
    "thumbnail": "jpg",
    "image": "jpg",
    "mask": "png",
    "prediction": "png",
    "errors": "png",
    "probability": "png",
}
"""Suffix of the files in each folder of a gallery."""
_BY_FILE_MANAGERS = {".DS_Store", "Thumbs.db", "desktop.ini"}
"""Files that file managers write into the folders that they show."""
_THUMBNAIL = 224
"""Longest side of a thumbnail, pixels: twice that on the page, for screens of high density."""
_MARK = '<meta name="generator" content="roadseg gallery">'
"""Line of the page by which a gallery is recognized."""
_PAGE, _SCRIPT = (Path(__file__).with_name(f"gallery_page.{suffix}") for suffix in ("html", "js"))


@dataclass(frozen=True)
class GalleryImage:
    """An image on the page."""

    id: str
    number: int
    """Number in the names of its files."""
    height: int
    width: int
    errors: ImageErrors


def require_gallery(folder: Path) -> None:
    """Raise InputError if `folder` has content that is not a gallery, which would be lost."""
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(f"--out: {folder} is or contains the working directory; use another --out")
    names = set(list_names(folder)) - _BY_FILE_MANAGERS
    if not names:
        return
    if not has_mark(folder / INDEX, _MARK):
        raise InputError(
            f"--out: {folder} is neither empty nor a gallery, and all of it would be replaced; "
            "use another --out"
        )
    if others := names - {INDEX, *SUFFIXES}:
        raise InputError(
            f"--out: {folder / min(others)} does not belong to the gallery and would be lost; "
            "move it, or use another --out"
        )


def has_mark(path: Path, mark: str) -> bool:
    """Check whether `path` is a file with the text `mark` among its first 1000 bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return mark.encode() in file.read(1000)


def write_gallery(
    folder: Path,
    network: nn.Module,
    prepared: PreparedDataset,
    ids: Sequence[str],
    accelerator: Accelerator,
    options: Evaluate,
    *,
    ignored: int | None,
    model: str,
) -> None:
    """Predict the images `ids` and write a gallery to `folder`, which is replaced as a whole.

    The predictions and metrics are those of `evaluate_model`. Images are written batch by batch.

    Args:
        network: is moved to the device.
        ignored: class that was not trained.
        model: name of the model, shown on the page.

    Raises:
        InputError: as `evaluate`, `require_gallery` and `Evaluation.require_finite`.
    """
    accelerator.to_device(network)
    class_map = prepared.class_map()
    void_id = class_map.void_id
    with atomic_folder(folder) as fresh:
        writer = _ImageWriter(fresh, prepared, ids)
        evaluation = evaluate(
            network,
            prepared,
            ids,
            options.batch_size,
            accelerator,
            ignored=ignored,
            views=list_views(options.scales, options.flip),
            after_batch=writer.write_batch,
        )
        evaluation.require_finite(model)
        matrices = zip(ids, evaluation.confusions, strict=True)
        images = [
            GalleryImage(name, number, *prepared.size(name), image_errors(matrix, void_id))
            for number, (name, matrix) in enumerate(matrices)
        ]
        miou = evaluation.metrics()["miou"]
        write_index(fresh / INDEX, class_map, images, f"{model}: mIoU {miou:.4f}")
        require_gallery(folder)  # again: the images took a while


class _ImageWriter:
    """Writes the files of the images; batches come in the order of `ids`."""

    def __init__(self, folder: Path, prepared: PreparedDataset, ids: Sequence[str]) -> None:
        self._folder, self._prepared = folder, prepared
        self._remaining = enumerate(ids)
        self._class_map = prepared.class_map()
        for name in SUFFIXES:
            (folder / name).mkdir()

    def write_batch(self, logits: Tensor, class_ids: Tensor, predicted: Tensor) -> None:
        """Write a batch: logits (N, K, H, W), class ids and predicted class ids (N, H, W)."""
        for its_logits, mask, prediction in zip(logits, class_ids, predicted, strict=True):
            number, name = next(self._remaining)
            confidence = its_logits.float().softmax(0).amax(0).mul(255).round().byte()
            self._write(
                number,
                np.asarray(self._prepared.image(name)),
                *(array.byte().cpu().numpy() for array in (mask, prediction, confidence)),
            )

    def _write(
        self,
        number: int,
        image: np.ndarray,
        mask: np.ndarray,
        prediction: np.ndarray,
        confidence: np.ndarray,
    ) -> None:
        colors, void_id = self._class_map.colors, self._class_map.void_id
        thumbnail = Image.fromarray(image)
        thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
        views = {
            "thumbnail": thumbnail,
            "image": Image.fromarray(image),
            "mask": palette_image(mask, colors),
            "prediction": palette_image(prediction, colors),
            "errors": _error_image(error_map(image, mask, prediction, void_id)),
            "probability": Image.fromarray(confidence),
        }
        for name, view in views.items():
            path = self._folder / name / f"{number}.{SUFFIXES[name]}"
            with attach_path(path):
                view.save(path, quality=90, subsampling=0)  # which PNG ignores


def _error_image(shown: np.ndarray) -> Image.Image:
    """Convert an `error_map`, (H, W, 3) uint8, to a palette image without loss."""
    levels = shown[:, :, 0].copy()  # gray is at least 128, so that 0 is unused
    levels[(shown == WRONG_COLOR).all(2)] = 0
    image = Image.fromarray(levels)
    image.putpalette([*WRONG_COLOR, *np.repeat(np.arange(1, 256), 3).tolist()])
    return image


def write_index(
    path: Path, class_map: ClassMap, images: Sequence[GalleryImage], summary: str
) -> None:
    """Write the page, of which the folders with the files of the images are next to `path`.

    Args:
        summary: plain text at the top of the page.
    """
    names = map(escape_unprintable, class_map.names)
    classes = [
        {"name": name, "color": color, "void": class_id == class_map.void_id}
        for class_id, (name, color) in enumerate(zip(names, class_map.hex_colors, strict=True))
    ]
    entries = [{**asdict(image), "id": escape_unprintable(image.id)} for image in images]
    data = {"classes": classes, "images": entries, "suffixes": SUFFIXES}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    texts = {
        "mark": _MARK,
        "summary": escape(escape_unprintable(summary)),
        "max_confusions": str(MAX_CONFUSIONS),
        "script": _SCRIPT.read_text(encoding="utf-8"),
        "data": text.replace("<", "\\u003c"),  # nothing can close the script element
    }
    page = _PAGE.read_text(encoding="utf-8")
    for name, value in texts.items():  # none of them contains a placeholder
        page = page.replace(f"<!--{name}-->", value)
    path.write_text(page, encoding="utf-8")
