"""Builders of small data sets, parameters, models and trainings that the tests share."""

import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from ruamel.yaml import YAML
from torch import Tensor, nn
from tqdm import tqdm

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, LabelClass, read_class_map
from roadseg.config.params import Params, Resume, load_params
from roadseg.config.recipe import Augmentation
from roadseg.data.array_files import ArrayEntry, save_array
from roadseg.data.collate import Batch
from roadseg.data.loader import training_batches
from roadseg.data.prepared import CLASSES, IMAGES, INDEX, MASKS, PreparedDataset
from roadseg.data.sampler import EpochSampler
from roadseg.data.split_file import Split
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.fetch.archive import ARCHIVE
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.layout import FOLDERS, TEST_IMAGES, TEST_MASKS, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.prepare.remap import remap_dataset
from roadseg.provenance.model_metadata import DataDigest, ModelMetadata, TrainingProvenance
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.errors import InputError
from roadseg.system.files import write_json
from roadseg.training.checkpointer import Checkpointer, RunPaths
from roadseg.training.logger import TrainingLogger
from roadseg.training.metrics import HistoryRow
from roadseg.training.setup import build_trainer
from roadseg.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
LABEL_IDS = (0, 7, 8, 11, 17, 20, 21, 23, 24, 26, 31, 33)
"""One label id of each class of kitti12, in class order."""
SIZES = ((32, 48), (34, 50))
LIMITS = Limits(files=1000, bytes=10**8, ratio=100, pixels=10**8)
STORE = DownloadStore(Path("/nonexistent"), 10**8, ARCHIVE)
"""A store for sources that are not downloaded."""


def make_striped_pair(height: int, width: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 with one color per class, and label ids (H, W) uint8."""
    columns = (np.arange(width) // 4 + shift) % len(LABEL_IDS)
    class_ids = np.broadcast_to(columns, (height, width))
    label_ids = np.array(LABEL_IDS, dtype=np.uint8)[class_ids]
    image = np.stack([class_ids * 20, 255 - class_ids * 20, class_ids * 7 + 50], axis=2)
    return image.astype(np.uint8), label_ids


def write_images(
    root: Path, num_train: int = 8, num_test: int = 2, sizes=SIZES, test_masks: bool = False
) -> Path:
    """Write a data set in KITTI's layout to `root`; `sizes` are (height, width)."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for i in range(num_train):
        image, label_ids = make_striped_pair(*sizes[i % len(sizes)], shift=i)
        Image.fromarray(image).save(root / TRAIN_IMAGES / f"{i:06d}_10.png")
        Image.fromarray(label_ids).save(root / TRAIN_MASKS / f"{i:06d}_10.png")
    for i in range(num_test):
        image, label_ids = make_striped_pair(*sizes[i % len(sizes)], shift=i + 3)
        Image.fromarray(image).save(root / TEST_IMAGES / f"{i:06d}_10.png")
        if test_masks:
            Image.fromarray(label_ids).save(root / TEST_MASKS / f"{i:06d}_10.png")
    return root


def write_params(path: Path, **changes: object) -> Path:
    """Write params.yaml for a small network with `changes`, such as `train__epochs=1`."""
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    small = {"model__unet__base_channels": 4, "train__epochs": 2, "train__device": "cpu"}
    for key, value in {**small, "split__val_fraction": 0.25, **changes}.items():
        section = params
        *parents, name = key.split("__")
        for parent in parents:
            section = section[parent]
        section[name] = value
    with path.open("w") as file:
        yaml.dump(params, file)
    return path


CPU = Accelerator(torch.device("cpu"), "fp32")
THREE_CLASSES = ClassMap(
    void="rest",
    ignored_label_ids=[],
    unknown_label_ids="ignore",
    classes=[
        LabelClass(name=name, color=[0, 0, 0], label_ids=[]) for name in ("rest", "road", "sky")
    ],
)


class RedChannelNetwork(nn.Module):
    """Predicts the class id in the red channel with probability 3/5, the other two with 1/5."""

    def forward(self, images: Tensor) -> Tensor:
        class_ids = (images[:, 0] * 255).round().long()  # (N, H, W)
        return math.log(3) * nn.functional.one_hot(class_ids, 3).permute(0, 3, 1, 2).float()


class ConstantNetwork(nn.Module):
    """Predicts the same probabilities of the classes for every pixel."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()[None, :, None, None]

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1, *images.shape[2:])


def make_red_dataset(root: Path, pairs: list[tuple[list, list]]) -> PreparedDataset:
    """Write a prepared data set from pairs of red channel and mask."""
    for folder in (IMAGES, MASKS):
        (root / folder).mkdir()
    write_json(root / CLASSES, THREE_CLASSES.model_dump())
    lines = []
    for i, (red, mask) in enumerate(pairs):
        image = np.zeros((*np.shape(red), 3), dtype=np.uint8)
        image[..., 0] = red
        array = np.array(mask, dtype=np.uint8)
        class_ids, counts = np.unique(array, return_counts=True)
        pixels = dict(zip(class_ids.tolist(), counts.tolist(), strict=True))
        sha256 = save_array(root / IMAGES / f"{i}.npy", image)
        lines.append(ArrayEntry(name=f"{IMAGES}/{i}", sha256=sha256, pixels={}).to_line())
        sha256 = save_array(root / MASKS / f"{i}.npy", array)
        lines.append(ArrayEntry(name=f"{MASKS}/{i}", sha256=sha256, pixels=pixels).to_line())
    (root / INDEX).write_text("".join(lines))
    return PreparedDataset(root)


RED_PAIRS = [
    ([[1, 2, 1]], [[1, 1, IGNORE_INDEX]]),  # right, road as sky, ignored
    ([[0, 2], [2, 1]], [[0, 2], [0, 2]]),  # right, right, void as sky, sky as road
]


def save_model(
    path: Path,
    classes: str | ClassMap = "kitti12",
    scale: float = 1.0,
    norm: str = "batch",
    base_channels: int = 4,
    **changes: object,
) -> Path:
    """Save a model whose predictions vary over an image, so that flips and shifts are detected."""
    if isinstance(classes, str):
        classes = read_class_map(ROOT / f"classes/{classes}.yaml")
    count = classes.num_classes
    unet = {"num_classes": count, "bilinear": True, "norm": norm, "dropout": 0}
    unet["base_channels"] = base_channels
    torch.manual_seed(0)
    network = UNet(**unet)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.mul_(6**0.5)  # He et al. 2015, for signals of equal variance
            module.bias.data.zero_()
    facts = {"network": unet, "classes": classes, "ignored_class": None, "scale": scale}
    metadata = ModelMetadata(**{**facts, "epoch": 3, "val_miou": 0.25, **changes})
    save_weights(path, network.state_dict(), metadata)
    return path


CODE = {"src/roadseg/training/trainer.py": "0" * 40}
EVERY_STEP = Resume(minutes=0, states=2, trainings=5)
RARELY = Resume(minutes=1440, states=2, trainings=5)


def make_augmentation(**changes: float) -> Augmentation:
    """Return an augmentation that changes nothing, except for `changes`."""
    off = {"flip": False, "scale_min": 1.0, "scale_max": 1.0, "crop": 1.0}
    others = set(Augmentation.model_fields) - set(off)
    return Augmentation(**{**off, **dict.fromkeys(others, 0.0), **changes})


STRONG = make_augmentation(
    flip=True,
    scale_min=0.5,
    scale_max=2.0,
    crop=0.75,
    rotation=30.0,
    perspective=0.3,
    jitter=0.4,
    hue=0.1,
    gamma=0.5,
    gray=0.2,
    blur=1.5,
    noise=0.05,
    cutout=0.5,
    plain=0.3,
)
ODD = {
    "batch_size": 2,
    "validations_per_epoch": 2,
    "augmentation": STRONG,
    "class_uniform": 0.5,
}


def make_prepared(folder: Path) -> PreparedDataset:
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    remap_dataset(write_images(folder / "raw"), folder / "prepared", class_map, 1.0)
    return PreparedDataset(folder / "prepared")


def make_params(folder: Path, recipe: str = "modern", **changes: object) -> Params:
    """Write and load parameters with `changes` in the section train."""
    named = {f"train__{key}": value for key, value in {"precision": "fp32", **changes}.items()}
    return load_params(write_params(folder / "params.yaml", train__recipe=recipe, **named))


def make_trainer(prepared: PreparedDataset, params: Params, **changes: object) -> Trainer:
    """Build a trainer with six training and two validation images and `changes` in the recipe."""
    ids = prepared.train_ids()
    split = Split(train=ids[:6], val=ids[6:], test=[])
    recipe = params.recipe.model_copy(update=changes)
    return build_trainer(prepared, split, params.model, params.train, recipe, CODE)


def make_provenance(seed: int = 0) -> TrainingProvenance:
    digest = DataDigest(pictures=1, sha256="0" * 64)
    empty = {"model": {}, "recipe": {"name": "none"}, "machine": {}, "versions": {}}
    data = {"train": digest, "val": digest}
    return TrainingProvenance(code=CODE, data=data, train={"seed": seed}, **empty)


def run_paths(folder: Path) -> RunPaths:
    return RunPaths(
        epochs=folder / "epochs",
        best=folder / "best.safetensors",
        history=folder / "history.csv",
        metrics=folder / "train.json",
        runs=folder / "runs",
        states=folder / "states",
    )


def epoch_batches(trainer: Trainer, epoch: int, batch_size: int | None = None) -> Iterator[Batch]:
    size = batch_size or trainer.recipe.batch_size
    return training_batches(
        trainer.dataset, epoch_sampler(len(trainer.dataset), size, trainer.train.seed, epoch), 0
    )


def epoch_sampler(num_samples: int, batch_size: int, seed: int, epoch: int) -> EpochSampler:
    count = math.ceil(num_samples / batch_size)
    steps = range((epoch - 1) * count, epoch * count)
    return EpochSampler(num_samples, batch_size, seed, steps)


def run_training(
    trainer: Trainer,
    folder: Path,
    resume: Resume = EVERY_STEP,
    stop: GracefulShutdown | None = None,
) -> list[HistoryRow]:
    out = run_paths(folder)
    checkpointer = Checkpointer(out, trainer.metadata, resume, trainer.train.epochs)
    return trainer.run(checkpointer, TrainingLogger(out.runs), stop or GracefulShutdown())


def read_outputs(folder: Path) -> dict[str, bytes]:
    """Read the outputs that DVC would hash, by file name."""
    files = [*folder.glob("epochs/*"), *folder.glob("*.*")]
    return {path.name: path.read_bytes() for path in files if path.suffix != ".lock"}


class StopAfter(GracefulShutdown):
    """Requests a stop at check number `count`, after a step or within a validation."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    @property
    def requested(self) -> bool:
        self.count -= 1
        return self.count < 0


def train_in_process(
    prepared: Path, params: Params, folder: Path, limit: int | None = None, **options: object
) -> None:
    """Train with output in folder/log; files are limited to `limit` bytes."""
    TrainingLogger.log_histograms = lambda *_: None
    tqdm.set_lock(threading.RLock())  # avoids a leaked semaphore, and its warning, if killed
    if limit is not None:
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    stream = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    try:
        run_training(make_trainer(PreparedDataset(prepared), params, **ODD), folder, **options)
    except InputError as error:
        sys.exit(f"error: {error}")


def join(process) -> int:
    """Start `process`, wait for it and return its exit code."""
    process.start()
    process.join(timeout=120)
    return process.exitcode
