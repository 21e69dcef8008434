"""Encodings of masks: label ids, or the colors of the classes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MaskEncoding:
    """`data.mask_values` and `data.color_tolerance` of params.yaml."""

    values: Literal["ids", "colors"] = "ids"
    color_tolerance: int = 0


LABEL_IDS = MaskEncoding()
"""Masks of label ids, as in KITTI."""
