"""data/split.json: the ids of the training, validation and test images."""

from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from roadseg.config.json_files import read_model
from roadseg.config.schema import StrictModel

ImageId = Annotated[str, Field(pattern=r"^[^/\x00]+$")]
"""Name of an image in the prepared data; it cannot lead out of the directory."""


class Split(StrictModel):
    """A split into training, validation and test images, and how it was drawn.

    No id is listed twice in `train` and `val` together, or in `test`. A test image may have the id
    of another image, because KITTI numbers them separately.
    """

    train: Annotated[list[ImageId], Field(min_length=1)]
    val: Annotated[list[ImageId], Field(min_length=1)]
    test: list[ImageId]
    grouped_by: str | None = None
    stratified_by: str | None = None
    seed: int | None = None
    """None, like `fold`, if the validation images were listed in params.yaml, not drawn."""
    fold: int | None = None

    @model_validator(mode="after")
    def _refuse_repeated_ids(self) -> "Split":
        for keys, ids in (("train, val", self.train + self.val), ("test", self.test)):
            if repeated := [name for name, count in Counter(ids).items() if count > 1]:
                raise ValueError(f"{keys}: {repeated[0]!r} is listed twice")
        return self


def read_split(path: Path) -> Split:
    """Read the file that the stage `split` wrote.

    Raises:
        InputError: the file is missing or invalid.
    """
    return read_model(Split, path)
