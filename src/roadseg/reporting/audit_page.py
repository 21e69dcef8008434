"""HTML page of the regions whose labels are most likely wrong; one file that needs no network.

Shapes: H, W pixels of a crop of an image.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from roadseg.config.class_map import ClassMap
from roadseg.evaluation.audit import Region, RegionView
from roadseg.inference.colors import colorize
from roadseg.reporting.gallery import has_mark
from roadseg.system.errors import InputError, escape_unprintable
from roadseg.system.files import atomic_file

INDEX, IMAGES, REGIONS = "index.html", "images.csv", "regions.csv"
_MARGIN = 40
"""Smallest margin around a region in its crop, pixels; a larger region has half of its size."""
_WIDTH = 400
"""Width of an image on the page, pixels; smaller crops are enlarged by an integer factor."""
_LARGEST = 2 * _WIDTH
"""Largest side of an image in the file without its frame, pixels; larger crops are reduced."""
_LINE = 4
"""Width of the line around a region, pixels; images have a frame of this width."""

_MARK = '<meta name="generator" content="roadseg audit">'
"""Line of the page by which an audit is recognized."""
_PAGE = Path(__file__).with_suffix(".html")
_ARTICLE = Template("""<article>
<h2>$rank. $name: $actual labeled, $suggested predicted</h2>
<p>score $score; $pixels pixels</p>
<div class="views">$views</div>
</article>
""")


def require_audit(folder: Path) -> None:
    """Raise InputError if files of an audit would replace others in `folder`."""
    if not has_mark(folder / INDEX, _MARK):
        for name in (INDEX, IMAGES, REGIONS):
            if (folder / name).exists():
                raise InputError(
                    f"--out: {folder / name} exists, but is not of an audit; use another --out"
                )


def save_audit_page(
    path: Path, views: Sequence[RegionView], class_map: ClassMap, summary: str
) -> None:
    """Write the page; the same arguments give the same bytes.

    Args:
        views: the regions in the order of their ranks.
        summary: plain text above the regions.
    """
    legend = "".join(_class(class_map, class_id) for class_id in range(class_map.num_classes))
    articles = (_article(rank, view, class_map) for rank, view in enumerate(views, start=1))
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        template = Template(_PAGE.read_text(encoding="utf-8"))
        page = template.substitute(summary=escape(summary), legend=legend, articles="\0")
        head, tail = page.split("\0")
        file.write(head)
        file.writelines(articles)
        file.write(tail)


def _article(rank: int, view: RegionView, class_map: ClassMap) -> str:
    region, crop = view.region, _crop(view.region, view.class_ids.shape)
    top, left, bottom, right = region.box
    inside = np.zeros(view.class_ids.shape, dtype=bool)
    inside[top:bottom, left:right] = view.inside
    images = {
        "image": view.image,
        "label": colorize(view.class_ids, class_map.colors),
        "prediction": colorize(view.predicted, class_map.colors),
    }
    figures = [
        _figure(outline(pixels[crop], inside[crop], smooth=name == "image"), name)
        for name, pixels in images.items()
    ]
    whole = np.zeros_like(inside)
    whole[top:bottom, left:right] = True
    figures.append(_figure(outline(view.image, whole, smooth=True), "whole image"))
    return _ARTICLE.substitute(
        rank=rank,
        name=escape(escape_unprintable(region.image)),
        actual=_class(class_map, region.class_id),
        suggested=_class(class_map, region.suggested_id),
        score=f"{region.score:.3g}",
        pixels=region.pixels,
        views="".join(figures),
    )


def _class(class_map: ClassMap, class_id: int) -> str:
    name = escape(escape_unprintable(class_map.names[class_id]))
    color = class_map.hex_colors[class_id]
    return (
        f'<span class="class"><span class="swatch" style="background:{color}"></span>{name}</span>'
    )


def _crop(region: Region, shape: Sequence[int]) -> tuple[slice, slice]:
    """Return the slices of a region with its margin."""
    spans = []
    for start, stop, length in zip(region.box[:2], region.box[2:], shape, strict=True):
        margin = max(_MARGIN, (stop - start) // 2)
        spans.append(slice(max(0, start - margin), min(length, stop + margin)))
    return spans[0], spans[1]


def outline(pixels: np.ndarray, inside: np.ndarray, smooth: bool) -> Image.Image:
    """Resize an image to about _WIDTH, and draw a black and white line around `inside`.

    Args:
        pixels: (H, W, 3) uint8.
        inside: (H, W) bool.
        smooth: interpolate the pixels.
    """
    height, width = inside.shape
    longest = max(height, width)
    enlargement = min(_WIDTH // width, _LARGEST // longest)
    factor = enlargement or min(1.0, _LARGEST / longest)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    kind = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    image = ImageOps.expand(Image.fromarray(pixels).resize(size, kind), _LINE)
    mask = Image.fromarray(inside).convert("L").resize(size, Image.Resampling.NEAREST)
    mask = ImageOps.expand(mask, _LINE)
    near, far = (np.array(mask.filter(ImageFilter.MaxFilter(side))) for side in (5, 2 * _LINE + 1))
    drawn = np.array(image)
    drawn[far > near] = 0
    drawn[near > np.array(mask)] = 255
    return Image.fromarray(drawn)


def _figure(image: Image.Image, caption: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{caption}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
