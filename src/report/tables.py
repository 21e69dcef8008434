"""Tables that DVC plots and people read: CSV with fixed columns and rounding."""

from pathlib import Path

import numpy as np
import pandas as pd

from src.files import replaced_file
from src.labels import ClassMap


def rounded(value: float) -> float:
    """`value` to 6 significant digits, as tables and metrics hold it."""
    return float(f"{value:.6g}")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV, 6 significant digits; a value that is absent (NaN) is empty."""
    with replaced_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")


def class_frequency(class_map: ClassMap, pixels: np.ndarray) -> pd.DataFrame:
    """Pixels of each class, and their share of the pixels that count.

    Args:
        pixels: (256,) int, pixels of each class id.

    Returns:
        Columns class, pixels, share (0..1), in class order.
    """
    counted = pixels[: class_map.num_classes]
    share = counted / max(1, counted.sum())
    return pd.DataFrame({"class": class_map.names, "pixels": counted, "share": share})
