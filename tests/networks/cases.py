"""The tested networks of smp, and what each of them guarantees: functions that measure it."""

import contextlib
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from roadseg.config.params import Params, load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.models import export
from roadseg.models.network import Network
from roadseg.models.registry import NETWORKS, build_network
from roadseg.models.smp import TESTED_ENCODERS
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup
from roadseg.runtime.signals import GracefulShutdown
from roadseg.training.checkpointer import NullCheckpointer
from roadseg.training.logger import TrainingLogger
from roadseg.training.setup import build_trainer
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer
from tests.factories import (
    CODE,
    ODD,
    RARELY,
    StopAfter,
    make_trainer,
    read_outputs,
    run_training,
    write_params,
)

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


def load_case(
    case: Case, folder: Path, precision: str, epochs: int = 1, recipe: str = "report"
) -> Params:
    """Load the parameters of epochs of three steps."""
    changes = {
        **{"train__epochs": epochs, "train__precision": precision, "train__recipe": recipe},
        **{"render__epochs": ["last"], "recipes__report__learning_rate": 1e-6},
    }
    return load_params(write_params(folder / "params.yaml", **changes, **case.params))


def train_and_resume(prepared: PreparedDataset, params: Params, folder: Path) -> list[dict]:
    """Return the outputs of a training, and of another one that was interrupted and resumed.

    It is interrupted within the first or, if there are more, the second epoch.
    """
    run_training(make_trainer(prepared, params, **ODD), folder / "uninterrupted", RARELY)
    for stop in (StopAfter(1 if params.train.epochs == 1 else 8), None):
        with contextlib.suppress(KeyboardInterrupt):
            run_training(make_trainer(prepared, params, **ODD), folder / "resumed", RARELY, stop)
    return [read_outputs(folder / name) for name in ("uninterrupted", "resumed")]


def difference_between_processes(prepared: PreparedDataset, params: Params, folder: Path) -> float:
    """Train in one process and in two, and return the largest difference of a weight.

    Differences are relative to the largest value of a tensor if that is above 1, as it may be for
    the statistics of norms. Dropout is off, because each process drops others.
    """
    context = multiprocessing.get_context("forkserver")
    # smp takes seconds to import
    context.set_forkserver_preload(["tests.networks.cases", "segmentation_models_pytorch"])
    for size in (1, 2):
        processes = [
            context.Process(target=_train_rank, args=(rank, size, prepared.root, params, folder))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    first, second = (
        load_file(folder / str(size) / "epochs/epoch_001.safetensors") for size in (1, 2)
    )
    scales = {name: tensor.abs().max().clamp(min=1) for name, tensor in first.items()}
    return max(((second[n] - first[n]).abs().max() / scales[n]).item() for n in first)


def _train_rank(rank: int, size: int, prepared: Path, params: Params, folder: Path) -> None:
    group = SINGLE_PROCESS
    if size > 1:
        store = f"file://{folder}/store"
        torch.distributed.init_process_group("gloo", store, rank=rank, world_size=size)
        group = ProcessGroup(rank, size, torch.distributed.group.WORLD)
    trainer = _plain_trainer(PreparedDataset(prepared), params, group)
    if group.is_first:
        run_training(trainer, folder / str(size), RARELY)
    else:
        trainer.run(NullCheckpointer(group), TrainingLogger(), GracefulShutdown())
    group.any(False)  # no rank exits while the other still needs it


def _plain_trainer(prepared: PreparedDataset, params: Params, group: ProcessGroup) -> Trainer:
    """Build a trainer for one step of SGD, which hides no wrong gradient, on unequal shards."""
    plain = {"optimizer": "sgd", "clip": "none", "schedule": "constant", "batch_size": 5}
    recipe = params.recipe.model_copy(update={**plain, "learning_rate": 1e-4})
    ids = prepared.train_ids()
    split = Split(train=ids[:5], val=ids[6:], test=[])
    accelerator = Accelerator(torch.device("cpu"), "fp32", group)
    trainer = build_trainer(prepared, split, params.model, params.train, recipe, CODE, accelerator)
    create, trainer.initial_state = trainer.initial_state, lambda: _without_dropout(create())
    return trainer


def _without_dropout(state: TrainState) -> TrainState:
    for module in state.network.modules():
        if isinstance(module, (torch.nn.Dropout, torch.nn.Dropout2d)):
            module.p = 0.0
        if hasattr(module, "_drop_connect_rate"):  # stochastic depth of efficientnet
            module._drop_connect_rate = 0.0
    return state


NONDETERMINISTIC = {
    "nn.AvgPool3d": {"avg_pool3d_backward"},
    "nn.AdaptiveAvgPool2d": {"_adaptive_avg_pool2d_backward"},
    "nn.AdaptiveAvgPool3d": {"_adaptive_avg_pool3d_backward"},
    "nn.AdaptiveMaxPool2d": {"adaptive_max_pool2d_backward"},
    "nn.FractionalMaxPool2d": {"fractional_max_pool2d_backward"},
    "nn.FractionalMaxPool3d": {"fractional_max_pool3d_backward"},
    "nn.MaxUnpool1d": {"max_unpool2d"},
    "nn.MaxUnpool2d": {"max_unpool2d"},
    "nn.MaxUnpool3d": {"max_unpool3d"},
    "nn.functional.interpolate": {
        *("upsample_linear1d_backward", "upsample_bilinear2d_backward"),
        *("upsample_bicubic2d_backward", "upsample_trilinear3d_backward"),
    },
    **{f"nn.ReflectionPad{n}d": {f"reflection_pad{n}d_backward"} for n in (1, 2, 3)},
    "nn.NLLLoss": {"nll_loss_forward", "nll_loss2d_forward"},
    "nn.CTCLoss": {"_ctc_loss_backward"},
    "nn.EmbeddingBag": {"_embedding_bag_dense_backward"},
    "Tensor.put_": {"put_", "put"},
    "histc": {"histc"},
    "bincount": {"bincount"},
    "median": {"median"},
    "nn.functional.grid_sample": {"grid_sampler_2d_backward", "grid_sampler_3d_backward"},
    "Tensor.scatter_reduce": {"scatter_reduce", "scatter_reduce_"},
    "Tensor.resize_": {"quantized_resize_cpu_"},
}
"""Operations without a deterministic kernel for CUDA, as the documentation of
torch.use_deterministic_algorithms lists them, and the names of their operators."""


def documented_operations() -> set[str]:
    """Parse that documentation."""
    text = torch.use_deterministic_algorithms.__doc__
    listed = text.partition("operations will throw")[2].partition("In addition")[0]
    return set(re.findall(r"\* :(?:class|func):`torch\.([\w.]+)`", listed))


class OperatorRecorder(TorchDispatchMode):
    """Records the names of the operators that run, such as `convolution_backward`."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def record_operators(build: Callable[[], torch.nn.Module]) -> set[str]:
    """Return the operators of a forward and a backward pass of a network on a GPU.

    They are recorded on the device "meta", which computes nothing, and for which torch replaces
    interpolation as it does for CUDA.
    """
    make_deterministic()
    with torch.device("meta"):
        network = build().train()
        with OperatorRecorder() as recorder:
            network(torch.rand(2, 3, 96, 160)).sum().backward()
    return recorder.names


def nondeterministic_operators(build: Callable[[], torch.nn.Module]) -> set[str]:
    """Return those without a deterministic kernel for CUDA."""
    return record_operators(build) & set().union(*NONDETERMINISTIC.values())
