"""Strict, immutable models of params.yaml: one class for each section.

No field has a default, because DVC tracks only values that are in the file. The docstrings become
the descriptions in params.schema.json, which editors show; `make schema` writes it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from roadseg.config.file_pattern import (
    JPEG_SUFFIXES,
    FilePattern,
    image_pattern,
    mask_pattern,
    require_same_fields,
)
from roadseg.config.recipe import Recipe, TrainingRecipe
from roadseg.config.schema import StrictModel, read_yaml, validate

MAX_EPOCHS = 999


def _pattern_check(parse: Callable[[str], FilePattern]) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _num_groups(pattern: str) -> int | None:
    """Return the number of groups in a regular expression, None if it is invalid."""
    try:
        return re.compile(pattern).groups
    except (re.error, OverflowError):
        return None


def _check_ids_pattern(pattern: str) -> str:
    is_file = pattern.endswith(_ID_LIST_SUFFIX)
    if not pattern or (not is_file and _num_groups(pattern) is None):
        raise ValueError("should be a regular expression that is searched for in the ids")
    return pattern


def _check_group_pattern(pattern: str) -> str:
    if pattern != "size" and _num_groups(pattern) != 1:
        raise ValueError("should be null, size or a regular expression with one group")
    return pattern


def _id_file(ids: list[str] | str | None) -> str | None:
    return ids if isinstance(ids, str) and ids.endswith(_ID_LIST_SUFFIX) else None


def is_url(source: str) -> bool:
    """Return True for an http(s) URL."""
    return source.lower().startswith(("http://", "https://"))


_Text = Annotated[str, Field(pattern=r"\S")]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_ImagePattern = Annotated[str, _pattern_check(image_pattern)]
_MaskPattern = Annotated[str, _pattern_check(mask_pattern)]
_Ids = Annotated[list[str], Field(min_length=1)]
_IdsPattern = Annotated[str, AfterValidator(_check_ids_pattern)]
_GroupPattern = Annotated[str, AfterValidator(_check_group_pattern)]
_Scale = Annotated[float, Field(ge=0.1, le=4)]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
_Epoch = Annotated[int, Field(ge=1)] | Literal["last"]
_Device = Literal["auto", "cpu", "mps", "cuda"] | Annotated[str, Field(pattern="^cuda:[0-9]+$")]
_ID_LIST_SUFFIX = ".txt"
_INT64 = 2**63


class Data(StrictModel):
    """Source of the images, and limits on its size."""

    source: _Text
    """sample (synthetic scenes), kitti, camvid, an http(s) URL, a local archive or directory."""
    sha256: _Sha256 | None
    """SHA-256 of the archive; any other archive is refused. null: the hash is only recorded."""
    images: _ImagePattern
    """Images with masks: {id} is the same for image and mask, * is any text, {a,b} is a or b."""
    masks: _MaskPattern
    """Masks of the images, see `mask_values`."""
    test_images: _ImagePattern | None
    """Test images, or, if they have no masks, images that are only rendered; null: none."""
    test_masks: _MaskPattern | None
    """Masks of the test images, which only `make final` reads; null: they have none."""
    test_ids: _Ids | _IdsPattern | None
    """Images of `images` for the test set: ids, a regular expression, or a .txt file of ids."""
    unmasked: Literal["error", "skip"]
    """Images that match `images` and have no mask: error, or skip them and report their number."""
    mask_values: Literal["ids", "colors"]
    """ids: grayscale values or palette indices are label ids; colors: those of the class map."""
    color_tolerance: int = Field(ge=0, le=128)
    """colors only: largest difference per channel to the nearest color of a class; 0 is exact."""
    max_files: int = Field(ge=3, le=10**9)
    """Maximum number of files: in an archive all, in a directory those of the data set."""
    max_gigabytes: float = Field(gt=0, le=1e6)
    """Maximum size of a download, an unpacked archive or the images of a directory; gigabytes."""
    max_ratio: float = Field(gt=0, le=1e5)
    """Maximum compression ratio of an archive; zip bombs have a higher one."""
    max_megapixels: float = Field(gt=0, le=1e5)
    """Maximum size of an image or mask, megapixels."""
    max_downloads_gigabytes: float = Field(gt=0, le=1e6)
    """Size of .downloads/ above which the least recently used archives are removed; gigabytes."""

    @model_validator(mode="after")
    def _check_masks(self) -> "Data":
        self._check_pattern("masks", self.masks, self.images)
        if self.test_masks is not None:
            if self.test_images is None:
                raise ValueError("test_masks: should be null if test_images is null")
            self._check_pattern("test_masks", self.test_masks, self.test_images)
        return self

    def _check_pattern(self, key: str, text: str, images: str) -> None:
        masks = mask_pattern(text)
        try:
            require_same_fields(image_pattern(images), masks)
        except ValueError as error:
            raise ValueError(f"{key}: {error}, got {text!r}") from None
        if not self.color_tolerance and set(masks.suffixes) & set(JPEG_SUFFIXES):
            raise ValueError(
                f"{key}: JPEG changes the values of pixels; use another format, or mask_values: "
                "colors with a color_tolerance above 0"
            )

    @model_validator(mode="after")
    def _check_tolerance(self) -> "Data":
        if self.color_tolerance and self.mask_values != "colors":
            raise ValueError("color_tolerance: should be 0, or mask_values should be colors")
        return self

    @property
    def test_ids_file(self) -> str | None:
        """`test_ids` if it is the name of a text file with one id per line."""
        return _id_file(self.test_ids)

    @property
    def max_pixels(self) -> int:
        """`max_megapixels` in pixels."""
        return round(self.max_megapixels * 1e6)


class Sample(StrictModel):
    """The synthetic data set; only used if data.source is sample."""

    num_train: int = Field(ge=2, le=999_999)
    """Images with masks."""
    num_test: int = Field(ge=0, le=999_999)
    """Test images; only `make final` reads their masks."""
    height: int = Field(ge=36, le=4096)
    """Height in pixels; like KITTI's, the images have several sizes near this one."""
    width: int = Field(ge=36, le=8192)
    """Width in pixels."""
    seed: int = Field(ge=0, lt=_INT64)
    """Random seed of the scenes."""


class Remap(StrictModel):
    """Conversion of masks from label ids to class ids."""

    classes: _Text
    """Class map: the NAME of classes/NAME.yaml, or the path of your own YAML file."""
    scale: float = Field(gt=0, le=1)
    """Size of the prepared images and masks as a fraction of the originals."""


class Split(StrictModel):
    """Split of the images into training and validation sets."""

    val_fraction: float = Field(gt=0, lt=1)
    """Fraction of the images with masks that is kept for validation; 0.1 is 10 %."""
    val_ids: _Ids | _IdsPattern | None
    """Validation set: ids, a regular expression, or a .txt file of ids; null: drawn at random."""
    group_by: _GroupPattern | None
    """Keeps similar images together: size, a regular expression with one group, or null."""
    stratify_by: Literal["size", "none"]
    """size: each image size in its proportion; ignored with group_by."""
    seed: int = Field(ge=0, lt=_INT64)
    """Random seed of the split."""
    fold: int = Field(ge=0, lt=_INT64)
    """Cross-validation fold: one of the disjoint validation sets, 0 to 1/val_fraction - 1."""

    @property
    def val_ids_file(self) -> str | None:
        """`val_ids` if it is the name of a text file with one id per line."""
        return _id_file(self.val_ids)


class UNetParams(StrictModel):
    """Options of the architecture unet."""

    base_channels: int = Field(ge=1, le=1024)
    """Channels of the first level; the others have 2, 4, 8 and 8 (or 16) times as many."""
    bilinear: bool
    """true: bilinear upsampling, which has fewer parameters; false: transposed convolution."""
    norm: Literal["batch", "group"]
    """Batch normalization, or group normalization (32 groups), independent of the batch."""
    dropout: float = Field(ge=0, lt=1)
    """Probability of dropping a channel at the bottom of the U; 0 is off."""


class Model(StrictModel):
    """The network."""

    architecture: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(/[A-Za-z0-9_]+)?$")]
    """unet, the U-Net of the report, or smp/NAME from segmentation_models_pytorch."""
    encoder: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] | None
    """Encoder of an smp network, such as resnet34; null for other architectures."""
    weights: Annotated[str, Field(min_length=1)]
    """Initial weights of the encoder: none, imagenet, an http(s) URL or a file."""
    weights_sha256: _Sha256 | None
    """SHA-256 of the file of weights; any other file is refused. null: it is only recorded."""
    kernels: Literal["auto", "torch"]
    """3x3 convolutions: auto, the fastest for this computer, or torch, always PyTorch's own."""
    unet: UNetParams
    """Options of the architecture unet; other architectures do not read them."""

    @model_validator(mode="after")
    def _check_encoder(self) -> "Model":
        if self.architecture.startswith("smp/"):
            if self.encoder is None:
                raise ValueError(
                    f"encoder: {self.architecture} needs an encoder, such as resnet34; "
                    "roadseg models lists the tested ones"
                )
            return self
        if self.encoder is not None:
            raise ValueError(
                f"encoder: should be null, because {self.architecture} has no encoder to choose, "
                f"got {self.encoder!r}"
            )
        if self.weights != "none":
            raise ValueError(
                f"weights: should be none, because {self.architecture} has no pretrained encoder, "
                f"got {self.weights!r}; train.start loads weights of the whole network"
            )
        return self

    @property
    def weights_path(self) -> str | None:
        """`weights` if it is the path of a file."""
        is_path = self.weights not in ("none", "imagenet") and not is_url(self.weights)
        return self.weights if is_path else None

    @property
    def network_options(self) -> dict[str, str | int | float | bool]:
        """The options of the architecture that the network is built with."""
        if self.encoder is not None:
            return {"encoder": self.encoder, "kernels": self.kernels}
        if self.architecture == "unet":
            return {**self.unet.model_dump(), "kernels": self.kernels}
        return {}


class Train(StrictModel):
    """Training options that are common to all recipes."""

    recipe: str
    """Name of one of the recipes."""
    epochs: Epochs
    """Passes over the training images; not read if `minutes` is set."""
    minutes: float | None = Field(gt=0, le=43_200)
    """Duration of the training, from which the stage plan computes the epochs; null: `epochs`."""
    seed: int = Field(ge=0, lt=2**32)
    """Random seed of initial weights, order of the images, augmentation and dropout."""
    start: Annotated[str, Field(min_length=1)] | None
    """File with initial weights of this network (a model or a state dict); null: none."""
    device: _Device
    """auto (cuda if there is one, else mps, else cpu), cpu, mps, cuda or cuda:N."""
    precision: Literal["auto", "fp32", "bf16"]
    """auto: bf16 where the hardware multiplies it natively, else fp32."""
    processes: int = Field(ge=1, le=64)
    """Processes on this computer that share each batch and the validation, one per GPU."""
    num_workers: int = Field(ge=0, le=64)
    """Loader processes per training process; 0: batches are loaded in the training process."""


class Resume(StrictModel):
    """Checkpoints in .ckpt/, from which interrupted runs resume; they change no result."""

    minutes: float = Field(ge=0, le=1440)
    """Maximum training time lost by a hard kill, minutes; 0: a checkpoint at every step."""
    states: int = Field(ge=1, le=100)
    """Checkpoints kept per run: the newest, and earlier ones in case it is damaged."""
    trainings: int = Field(ge=1, le=10_000)
    """Most recently used runs that keep their checkpoints; at least as many as run in parallel."""


class Evaluate(StrictModel):
    """Evaluation and test-time augmentation (TTA)."""

    batch_size: int = Field(ge=1, le=1024)
    """Images of one size per forward pass; more is faster on a GPU only."""
    flip: bool
    """TTA: also evaluate the mirrored image at each scale."""
    scales: list[_Scale] = Field(min_length=1)
    """TTA: scales of height and width whose probabilities are averaged."""


class Render(StrictModel):
    """Figures with predictions."""

    epochs: list[_Epoch] = Field(min_length=1)
    """Epochs whose predictions are plotted: numbers from 1, or last."""
    num_pictures: int = Field(ge=1, le=50)
    """Number of training images and of test images in a figure."""


class MaxMiouLoss(StrictModel):
    """Largest accepted loss of validation mIoU, compared with the network in float32."""

    fp16: float = Field(ge=0, le=1)
    """Limit of fp16.onnx."""
    int8: float = Field(ge=0, le=1)
    """Limit of int8.onnx."""


class Export(StrictModel):
    """ONNX files for devices, which `make export` writes and measures."""

    calibration_images: int = Field(ge=1, le=10_000)
    """Number of training images from which int8 takes the ranges of the activations."""
    max_miou_loss: MaxMiouLoss
    """A larger loss is an error."""


class Params(StrictModel):
    """All sections of params.yaml."""

    data: Data
    sample: Sample
    remap: Remap
    split: Split
    model: Model
    train: Train
    recipes: dict[str, Recipe]
    resume: Resume
    evaluate: Evaluate
    render: Render
    export: Export

    @model_validator(mode="after")
    def _check_sections(self) -> "Params":
        train, names = self.train, ", ".join(self.recipes)
        recipe = self.recipes.get(train.recipe)
        if recipe is None:
            raise ValueError(f"train.recipe: no recipe {train.recipe!r}; recipes has {names}")
        if train.start is not None and self.model.weights != "none":
            raise ValueError(
                "train.start: should be null if model.weights is not none, because its weights "
                f"would replace them, got {train.start!r}"
            )
        if recipe.batch_size != "auto" and train.processes > recipe.batch_size:
            raise ValueError(
                f"train.processes: {train.processes} is more than the {recipe.batch_size} "
                f"images of recipes.{train.recipe}.batch_size; each process needs at least one; "
                "lower train.processes or raise batch_size"
            )
        for epoch in self.render.epochs:
            if train.minutes is None and epoch != "last" and epoch > train.epochs:
                raise ValueError(
                    f"render.epochs: epoch {epoch} is never trained, train.epochs is "
                    f"{train.epochs}; lower it or use last"
                )
        return self

    @property
    def recipe(self) -> TrainingRecipe:
        """The recipe that `train.recipe` names.

        Raises:
            InputError: its batch size is auto; `apply_plan` replaces it by a number.
        """
        return validate(TrainingRecipe, self.recipes[self.train.recipe].model_dump())

    @property
    def epochs_to_render(self) -> list[int]:
        """`render.epochs` as sorted numbers, each once; at most `train.epochs`.

        A larger number is possible with `train.minutes` only; the last epoch takes its place.
        """
        last = self.train.epochs
        return sorted(
            {last if epoch == "last" else min(epoch, last) for epoch in self.render.epochs}
        )


def load_params(path: Path) -> Params:
    """Read and validate all sections of `path`, so that a mistake stops the first stage that runs.

    Raises:
        InputError: unknown or missing key, wrong type, value out of range; names file and key.
    """
    return validate(Params, read_yaml(path), path)
