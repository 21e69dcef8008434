"""Decode every PNG below a folder once, on all cores; nothing else: `python -m ... FOLDER`."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image


def decoded(path: Path) -> None:
    with Image.open(path) as picture:
        picture.load()


if __name__ == "__main__":
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decoded, sorted(Path(sys.argv[1]).rglob("*.png"))))
