"""Strict, immutable models of the recipes in params.yaml; see params.py for the other sections."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from roadseg.config.schema import StrictModel

MAX_BATCH_SIZE = 1024

BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)]


class Augmentation(StrictModel):
    """Random changes of the training images; pixels that come from outside an image are ignored."""

    flip: bool
    """Mirror each image horizontally with probability 1/2."""
    scale_min: float = Field(ge=0.1, le=10)
    """Smallest random scale; small and large factors are equally likely (uniform logarithm)."""
    scale_max: float = Field(ge=0.1, le=10)
    """Largest random scale."""
    crop: float = Field(gt=0, le=1)
    """Height and width of the window that a step sees, as a fraction of the image's; at least 16
    pixels."""
    rotation: float = Field(ge=0, le=180)
    """Largest rotation, degrees."""
    perspective: float = Field(ge=0, lt=0.9)
    """Largest relative change of the scale between the middle and a corner; 0 is off."""
    jitter: float = Field(ge=0, lt=1)
    """Largest relative change of brightness, contrast and saturation; 0 is off."""
    hue: float = Field(ge=0, le=0.5)
    """Largest change of the hue, as a fraction of the color circle; 0 is off."""
    gamma: float = Field(ge=0, le=4)
    """Exponents of the brightness are between 1 / (1 + gamma) and 1 + gamma; 0 is off."""
    gray: float = Field(ge=0, le=1)
    """Probability of an image without colors."""
    blur: float = Field(ge=0, le=3)
    """Largest standard deviation of a Gaussian blur, in pixels, in every second image; 0 is off."""
    noise: float = Field(ge=0, le=1)
    """Largest standard deviation of noise, as a fraction of white; 0 is off."""
    cutout: float = Field(ge=0, le=1)
    """Largest side of a gray rectangle in every second image, as a fraction of the image's."""
    plain: float = Field(ge=0, le=1)
    """Fraction of the epochs, the last ones, in which only flip and jitter change the images."""

    def num_changed(self, num_epochs: int) -> int:
        """Return the number of epochs that are not plain."""
        return round((1 - self.plain) * num_epochs)

    def in_epoch(self, epoch: int, num_epochs: int) -> "Augmentation":
        """Return the augmentation of `epoch`, 1..num_epochs: another one if the epoch is plain."""
        if epoch <= self.num_changed(num_epochs):
            return self
        off = {name: 0.0 for name in Augmentation.model_fields if name not in ("flip", "jitter")}
        return self.model_copy(update={**off, "scale_min": 1.0, "scale_max": 1.0, "crop": 1.0})

    @model_validator(mode="after")
    def _check_scales(self) -> "Augmentation":
        if self.scale_min > self.scale_max:
            raise ValueError(
                f"scale_min: should be at most scale_max ({self.scale_max:g}), "
                f"got {self.scale_min:g}"
            )
        return self


class Recipe(StrictModel):
    """Optimizer, schedule, loss and augmentation."""

    optimizer: Literal["rmsprop", "adamw", "sgd", "muon"]
    """muon: convolution filters by Muon, the other weights by AdamW."""
    learning_rate: float = Field(gt=0, le=10)
    """Rate of the first step; with one_cycle the highest; with muon that of the filters."""
    rest_learning_rate: float = Field(gt=0, le=10)
    """muon only: highest rate of the first and last layers, biases and norms."""
    momentum: float = Field(ge=0, lt=1)
    """Momentum of rmsprop, sgd and muon; first beta of adamw."""
    weight_decay: float = Field(ge=0, lt=1)
    """Weight decay (muon: of the filters); decoupled with adamw and muon."""
    batch_size: BatchSize | Literal["auto"]
    """Images per step, padded to one size; auto: as many as fit in memory, see the stage plan."""
    clip: Literal["none", "value", "norm"]
    """Gradient clipping: none, value (each entry to +-clip_limit) or norm (the total norm)."""
    clip_limit: float = Field(gt=0)
    """Maximum entry or norm of the gradients; ignored with clip: none."""
    schedule: Literal["constant", "plateau", "one_cycle"]
    """plateau: a tenth of the rate after `patience` validations; one_cycle: cosine up and down."""
    patience: int = Field(ge=0, lt=2**63)
    """Validations without a lower cross-entropy before plateau lowers the rate."""
    warmup: float = Field(ge=0, lt=1)
    """Fraction of the steps in which one_cycle rises to learning_rate."""
    validations_per_epoch: int = Field(ge=1, le=100)
    """Validations per epoch, evenly spaced, the last one at its end."""
    class_weights: Literal["none", "sqrt"]
    """Weight of each class in the loss; sqrt: 1 / sqrt(frequency of the class)."""
    lovasz: float = Field(ge=0, le=100)
    """Weight of the Lovász loss (a surrogate of the IoU) next to the cross-entropy; 0 is off."""
    void: Literal["class", "ignored"]
    """class: void is learned like any class; ignored: its pixels do not contribute to the loss."""
    ema: float = Field(ge=0, lt=1)
    """Decay per step of the averaged weights, which are evaluated and saved; 0 is off."""
    halved: float = Field(ge=0, le=1)
    """Fraction of the steps, from the first one, on images of half height and width."""
    class_uniform: float = Field(ge=0, le=1)
    """Fraction of the samples that are drawn by class, so that rare classes are seen more often."""
    augmentation: Augmentation | None
    """Random changes of the training images; null: none."""
    encoder_rate: float = Field(gt=0, le=1)
    """Factor of the learning rates for the parameters of the encoder."""
    encoder_frozen: int = Field(ge=0, le=999)
    """Epochs, the first ones, in which the encoder is not trained and computes as in evaluation."""
    encoder_norm: Literal["train", "frozen"]
    """frozen: batch norms of the encoder keep their running statistics, and use them to train."""

    @property
    def depends_on_epochs(self) -> bool:
        """True if a step depends on the total number of epochs."""
        plain = self.augmentation is not None and self.augmentation.plain > 0
        return self.schedule == "one_cycle" or self.halved > 0 or plain


class TrainingRecipe(Recipe):
    """A recipe whose batch size is known."""

    batch_size: BatchSize
