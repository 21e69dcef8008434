"""The parameters of params.yaml, typed and checked.

One frozen dataclass a section, without defaults: DVC tracks only what stands in the file, so a
value that is not there must not exist. Every error names file, section and key.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roadseg.config.schema import checked, read_yaml
from roadseg.system.errors import InputError

_PICTURES = (".png", ".jpg", ".jpeg")


def _require(condition: bool, key: str, value: object, expected: str) -> None:
    if not condition:
        raise InputError(f"{key}: {value!r} is out of range; expected {expected}")


def _num_groups(pattern: str) -> int | None:
    """How many groups the regular expression `pattern` has, None if it is none."""
    try:
        return re.compile(pattern).groups
    except (re.error, OverflowError):
        return None


@dataclass(frozen=True, kw_only=True)
class Data:
    source: str
    sha256: str | None
    images: str
    masks: str
    test_images: str | None
    max_files: int
    max_gigabytes: float
    max_ratio: float
    max_megapixels: float
    max_downloads_gigabytes: float

    @property
    def max_pixels(self) -> int:
        return round(self.max_megapixels * 1e6)

    def __post_init__(self) -> None:
        _require(self.source.strip() != "", "source", self.source, "a source")
        digits = self.sha256 is None or (
            len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef")
        )
        _require(digits, "sha256", self.sha256, "null or 64 lower-case hexadecimal digits")
        for key, endings in (
            ("images", _PICTURES),
            ("masks", (".png",)),
            ("test_images", _PICTURES),
        ):
            pattern = getattr(self, key)
            if pattern is not None:
                fits = pattern.count("{id}") == 1 and pattern.lower().endswith(endings)
                expected = f"a relative path with one {{id}} that ends in {' or '.join(endings)}"
                plain = "" not in pattern.split("/")
                plain = plain and not {".", "..", "**"} & set(re.split("[/{},]", pattern))
                _require(fits and plain, key, pattern, expected)
        _require(3 <= self.max_files <= 10**9, "max_files", self.max_files, "3 to 1000000000")
        for key, most in (
            ("max_gigabytes", 1e6),
            ("max_ratio", 1e5),
            ("max_megapixels", 1e5),
            ("max_downloads_gigabytes", 1e6),
        ):
            limit = getattr(self, key)
            _require(0 < limit <= most, key, limit, f"above 0, at most {most:.0f}")


@dataclass(frozen=True, kw_only=True)
class Sample:
    num_train: int
    num_test: int
    height: int
    width: int
    seed: int

    def __post_init__(self) -> None:
        _require(2 <= self.num_train <= 999_999, "num_train", self.num_train, "2 to 999999")
        _require(0 <= self.num_test <= 999_999, "num_test", self.num_test, "0 to 999999")
        _require(36 <= self.height <= 4096, "height", self.height, "36 to 4096 pixels")
        _require(36 <= self.width <= 8192, "width", self.width, "36 to 8192 pixels")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Remap:
    classes: str
    scale: float

    def __post_init__(self) -> None:
        _require(self.classes.strip() != "", "classes", self.classes, "a name or a file")
        _require(0 < self.scale <= 1, "scale", self.scale, "above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class Split:
    val_fraction: float
    val_ids: list[str] | str | None
    group_by: str | None
    stratify_by: Literal["size", "none"]
    seed: int
    fold: int

    def __post_init__(self) -> None:
        _require(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, "between 0 and 1")
        expected = "null or at least one id, or a regular expression that is searched for in them"
        named = not isinstance(self.val_ids, str) or _num_groups(self.val_ids) is not None
        _require(self.val_ids not in ([], "") and named, "val_ids", self.val_ids, expected)
        if self.group_by not in (None, "size"):
            expected = "null, size or a regular expression with one group"
            _require(_num_groups(self.group_by) == 1, "group_by", self.group_by, expected)
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.fold >= 0, "fold", self.fold, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Model:
    base_channels: int
    bilinear: bool
    norm: Literal["batch", "group"]
    dropout: float

    def __post_init__(self) -> None:
        _require(1 <= self.base_channels <= 1024, "base_channels", self.base_channels, "1 to 1024")
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "0 to below 1")


@dataclass(frozen=True, kw_only=True)
class Train:
    recipe: str
    epochs: int
    seed: int
    start: str | None
    device: str
    precision: Literal["auto", "fp32", "bf16"]
    processes: int
    num_workers: int

    def __post_init__(self) -> None:
        _require(1 <= self.epochs <= 999, "epochs", self.epochs, "1 to 999")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 2**32 - 1")
        _require(self.start != "", "start", self.start, "null or a file")
        known = re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", self.device) is not None
        _require(known, "device", self.device, "auto, cpu, mps, cuda or cuda:N")
        _require(1 <= self.processes <= 64, "processes", self.processes, "1 to 64")
        _require(0 <= self.num_workers <= 64, "num_workers", self.num_workers, "0 to 64")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    optimizer: Literal["rmsprop", "adamw", "sgd", "muon"]
    learning_rate: float
    rest_learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    clip: Literal["none", "value", "norm"]
    clip_limit: float
    schedule: Literal["constant", "plateau", "one_cycle"]
    patience: int
    warmup: float
    validations_per_epoch: int
    class_weights: Literal["none", "sqrt"]
    lovasz: float
    void: Literal["class", "ignored"]
    ema: float
    halved: float
    flip: bool
    jitter: float

    def __post_init__(self) -> None:
        for key in ("learning_rate", "rest_learning_rate"):
            rate = getattr(self, key)
            _require(0 < rate <= 10, key, rate, "above 0, at most 10")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "0 to below 1")
        _require(0 <= self.weight_decay < 1, "weight_decay", self.weight_decay, "0 to below 1")
        _require(1 <= self.batch_size <= 1024, "batch_size", self.batch_size, "1 to 1024")
        _require(self.clip_limit > 0, "clip_limit", self.clip_limit, "above 0")
        _require(self.patience >= 0, "patience", self.patience, "0 or more")
        _require(0 <= self.warmup < 1, "warmup", self.warmup, "0 to below 1 (share of all steps)")
        validations = self.validations_per_epoch
        _require(1 <= validations <= 100, "validations_per_epoch", validations, "1 to 100")
        _require(0 <= self.lovasz <= 100, "lovasz", self.lovasz, "0 (off) to 100")
        _require(0 <= self.ema < 1, "ema", self.ema, "0 (off) to below 1")
        _require(0 <= self.halved <= 1, "halved", self.halved, "0 to 1 (share of all steps)")
        _require(0 <= self.jitter < 1, "jitter", self.jitter, "0 (off) to below 1")


@dataclass(frozen=True, kw_only=True)
class Resume:
    minutes: float
    states: int
    trainings: int

    def __post_init__(self) -> None:
        _require(0 <= self.minutes <= 1440, "minutes", self.minutes, "0 to 1440")
        _require(1 <= self.states <= 100, "states", self.states, "1 to 100")
        _require(1 <= self.trainings <= 10_000, "trainings", self.trainings, "1 to 10000")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    batch_size: int
    flip: bool
    scales: list[float]

    def __post_init__(self) -> None:
        in_range = all(0.1 <= scale <= 4 for scale in self.scales)
        _require(self.scales != [] and in_range, "scales", self.scales, "scales of 0.1 to 4")
        _require(1 <= self.batch_size <= 1024, "batch_size", self.batch_size, "1 to 1024")


@dataclass(frozen=True, kw_only=True)
class Render:
    epochs: list[int | Literal["last"]]
    num_pictures: int

    def __post_init__(self) -> None:
        whole = all(epoch == "last" or epoch >= 1 for epoch in self.epochs)
        _require(self.epochs != [] and whole, "epochs", self.epochs, "epochs from 1, or last")
        _require(1 <= self.num_pictures <= 50, "num_pictures", self.num_pictures, "1 to 50")


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of params.yaml."""

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

    def __post_init__(self) -> None:
        if self.train.recipe not in self.recipes:
            names = ", ".join(self.recipes)
            raise InputError(f"train.recipe: no recipe {self.train.recipe!r}; recipes has {names}")
        if self.train.processes > self.recipe.batch_size:
            raise InputError(
                f"train.processes: {self.train.processes} is more than the "
                f"{self.recipe.batch_size} pictures of recipes.{self.train.recipe}.batch_size, of "
                "which each gets a share; lower it, or raise that"
            )
        for epoch in self.render.epochs:
            if epoch != "last" and epoch > self.train.epochs:
                raise InputError(
                    f"render.epochs: epoch {epoch} is never trained, train.epochs is "
                    f"{self.train.epochs}; lower it or use last"
                )

    @property
    def recipe(self) -> Recipe:
        """The recipe that `train.recipe` names."""
        return self.recipes[self.train.recipe]

    @property
    def epochs_to_render(self) -> list[int]:
        """`render.epochs` as sorted numbers, each once."""
        last = self.train.epochs
        return sorted({last if epoch == "last" else epoch for epoch in self.render.epochs})


def load_params(path: Path) -> Params:
    """Read and check the whole of `path`, so that a wrong key stops the first stage that runs.

    Raises:
        InputError: unknown or missing key, wrong type, value out of range; names file and key.
    """
    values = read_yaml(path)
    try:
        return checked(Params, values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
