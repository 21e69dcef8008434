"""The tested networks of smp, and what each of them guarantees: functions that measure it."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from roadseg.config.params import Params, load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.models import export
from roadseg.models.network import Network
from roadseg.models.registry import NETWORKS, build_network
from roadseg.models.smp import TESTED_ENCODERS
from tests.distributed.torchrun import PLAIN_SGD, launch, make_data, read_weights
from tests.factories import (
    ODD,
    RARELY,
    StopAfter,
    make_trainer,
    read_outputs,
    run_training,
    write_params,
)
from tests.stage_runner import run_stage

SIZES = ((1, 1, 1), (3, 31, 32), (1, 96, 320), (2, 65, 130), *export.CHECKED_SIZES)
"""N, H and W of the images on which exported files are compared with the network."""


class Case(NamedTuple):
    """A network of smp with one of its encoders."""

    architecture: str
    encoder: str

    @property
    def params(self) -> dict[str, str]:
        """Changes of params.yaml, for `write_params`."""
        return {"model__architecture": self.architecture, "model__encoder": self.encoder}

    def build(self) -> Network:
        """Build the network, with random weights, for twelve classes."""
        torch.manual_seed(0)
        options = {"num_classes": 12, "encoder": self.encoder, "kernels": "auto"}
        return build_network(self.architecture, options)


CASES = [
    *(Case("smp/Unet", encoder) for encoder in TESTED_ENCODERS),
    *(Case(name, "resnet34") for name in NETWORKS if name not in ("unet", "smp/Unet")),
]


@torch.no_grad()
def normalize(network: Network) -> Network:
    """Give the batch norms the statistics of random images, so that the logits vary."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # averages all batches
    network.train()(torch.rand(2, 3, 96, 160))
    return network.eval()


def export_difference(network: Network, path: Path) -> float:
    """Export to `path` and return the largest difference of a logit."""
    write, load = export.FORMATS[path.suffix]
    write(export.export_program(network), {}, path)
    return export.largest_difference(network, load(path), SIZES)


def load_case(case: Case, folder: Path, precision: str) -> Params:
    path = folder / "params.yaml"
    changes = {"train__recipe": "report", "recipes__report__learning_rate": 1e-6, **case.params}
    return load_params(write_params(path, train__precision=precision, **changes))


def train_three_times(prepared: PreparedDataset, params: Params, folder: Path) -> list[dict]:
    """Return the outputs of two trainings, and of one that was interrupted and resumed."""
    for name in ("first", "second"):
        run_training(make_trainer(prepared, params, **ODD), folder / name, RARELY)
    for stop in (StopAfter(3), None):  # within the first epoch
        with contextlib.suppress(KeyboardInterrupt):
            run_training(make_trainer(prepared, params, **ODD), folder / "third", RARELY, stop)
    return [read_outputs(folder / name) for name in ("first", "second", "third")]


def difference_between_processes(case: Case, folder: Path) -> float:
    """Train in one process and in two, in unequal shards, and return the largest difference."""
    make_data(folder, **PLAIN_SGD, **{**case.params, "train__epochs": 1})
    launch(2, "train", folder, folder / "two")
    run_stage("train", folder)
    ours, theirs = (read_weights(path)["epoch_001.safetensors"] for path in (folder / "two", folder))
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in theirs)


class OperatorRecorder(TorchDispatchMode):
    """Records the names of the operators that run, such as `convolution_backward`."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def training_operators(case: Case) -> set[str]:
    """Return the operators of a forward and a backward pass on a GPU.

    They are recorded on the device "meta", for which torch chooses the same deterministic
    replacements as for CUDA, without computing anything.
    """
    with torch.device("meta"):
        network = case.build().train()
        with OperatorRecorder() as recorder:
            network(torch.rand(2, 3, 96, 160)).sum().backward()
    return recorder.names
