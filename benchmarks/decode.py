"""Decode every PNG below a directory, on all cores: `python -m benchmarks.decode DIRECTORY`."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image


def _decode(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


if __name__ == "__main__":
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_decode, sorted(Path(sys.argv[1]).rglob("*.png"))))
