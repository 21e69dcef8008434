"""Replace the annotation files of a fetched dataset by one file of shapes per image."""

import shutil
from pathlib import Path

from roadseg.prepare.annotations.convert import AnnotationFile, convert_annotations
from roadseg.prepare.fetch.file_patterns import ANNOTATIONS, MatchedFiles
from roadseg.prepare.layout import TRAIN_MASKS


def convert_matched_annotations(
    root: Path, matched: MatchedFiles, max_pixels: int
) -> dict[str, str]:
    """Convert the annotation files that were copied to `root`, and remove them.

    Returns:
        annotation file, and image in it -> path of the file of shapes below `root`.

    Raises:
        InputError: names the annotation file as in the source.
    """
    if not matched.annotations:
        return {}
    places = matched.places
    files = [
        AnnotationFile(root / places[name], name, {image: root / places[image] for image in images})
        for name, images in matched.annotations.items()
    ]
    sources = convert_annotations(files, root / TRAIN_MASKS, max_pixels)
    shutil.rmtree(root / ANNOTATIONS)
    return {source: f"{TRAIN_MASKS}/{name}" for name, source in sources.items()}
