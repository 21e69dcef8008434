"""The test set of a fetched dataset: checks, and its selection among the images with masks."""

import os
from collections.abc import Collection
from pathlib import Path, PurePath

from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.layout import TEST_IMAGES, TEST_MASKS, RawDataset, RawImage, RawPair
from roadseg.system.errors import InputError


def require_test_masks(dataset: RawDataset, patterns: FilePatterns) -> None:
    """Raise InputError if `patterns` has test masks, but a test image has none.

    With `data.unmasked: skip` such images are only rendered, if others have masks.
    """
    if patterns.test_masks is None:
        return
    if dataset.test and not dataset.test_pairs:
        raise InputError(f"no file matches {patterns.test_masks} (data.test_masks)")
    unmasked = dataset.test.keys() - dataset.test_pairs.keys()
    patterns.require_masks((dataset.test[name].image for name in unmasked), patterns.test_masks)


def move_to_test_set(root: Path, dataset: RawDataset, ids: Collection[str]) -> RawDataset:
    """Move these images and masks of the dataset `root` from the training to the test images.

    Raises:
        InputError: all images are selected, or a test image has the id of one of them.
    """
    if len(ids) == len(dataset.train):
        raise InputError("data.test_ids: selects every image; none is left for training")
    taken = {name.casefold(): name for name in dataset.test}
    train, test, test_pairs = {**dataset.train}, {**dataset.test}, {**dataset.test_pairs}
    for name in ids:
        if other := taken.get(name.casefold()):
            raise InputError(
                f"data.test_ids: {name!r} is also the id of a test image ({other}); set "
                "data.test_images to null"
            )
        pair = train.pop(name)
        image, mask = (
            str(PurePath(folder, PurePath(path).name))
            for folder, path in ((TEST_IMAGES, pair.image), (TEST_MASKS, pair.mask))
        )
        for old, new in ((pair.image, image), (pair.mask, mask)):
            os.replace(root / old, root / new)
        test[name], test_pairs[name] = RawImage(image, pair.size), RawPair(image, mask, pair.size)
    return RawDataset(train=train, test=test, test_pairs=test_pairs)
