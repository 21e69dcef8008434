"""Replace the annotation files of a fetched dataset by one file of shapes per image."""

import shutil
from pathlib import Path

from roadseg.prepare.annotations.convert import AnnotationFile, convert_annotations
from roadseg.prepare.fetch.file_patterns import ANNOTATIONS, MatchedFiles, annotation_folder
from roadseg.prepare.layout import TEST_MASKS, TRAIN_MASKS


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
    converted: dict[str, str] = {}
    for folder in (TRAIN_MASKS, TEST_MASKS):
        files = [
            AnnotationFile(
                root / places[name], name, {image: root / places[image] for image in images}
            )
            for name, images in matched.annotations.items()
            if places[name].startswith(f"{annotation_folder(folder)}/")
        ]
        sources = convert_annotations(files, root / folder, max_pixels) if files else {}
        converted |= {source: f"{folder}/{name}" for name, source in sources.items()}
    shutil.rmtree(root / ANNOTATIONS)
    return converted
