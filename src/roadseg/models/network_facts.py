"""Size, speed and properties of the networks, without training them.

Shapes: N images, K classes, H and W pixels.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from roadseg.models.network import Network
from roadseg.models.registry import NETWORKS, build_network
from roadseg.models.smp import TESTED_ENCODERS
from roadseg.provenance.encoder_weights import imagenet_license
from roadseg.runtime.accelerator import Accelerator

IMAGE_SIZE = (375, 1242)
"""H, W of an image of KITTI, for GFLOPs and for the time of a prediction."""
STEP_SHAPE = (2, 3, 96, 320)
"""N, 3, H, W of the batch of a timed training step."""
_DEFAULT_ENCODER = "resnet34"
_NUM_CLASSES = 12
_REPEATS = 3
_OPTIONS: dict[str, dict[str, object]] = {
    "unet": {"base_channels": 64, "bilinear": True, "norm": "batch", "dropout": 0.0}
}
"""Options of networks other than the number of classes and the encoder."""


@dataclass(frozen=True)
class NetworkFacts:
    """Properties of a network with 12 classes."""

    architecture: str
    encoder: str | None
    parameters: int
    flops: int
    """Operations of convolutions and matrix products for IMAGE_SIZE; a multiply-add is two."""
    stride: int
    receptive_field: int | None
    """Side of the square on which the logits of a pixel depend; None: the whole image."""
    license: str
    """License of the published weights of the encoder; empty if there are none."""


def split_name(name: str) -> tuple[str, str | None]:
    """Split ARCHITECTURE[:ENCODER]; networks of smp have resnet34 if it names no encoder."""
    architecture, _, encoder = name.partition(":")
    default = _DEFAULT_ENCODER if architecture.startswith("smp/") else None
    return architecture, encoder or default


def tested_networks() -> Iterator[str]:
    """Names ARCHITECTURE[:ENCODER] of the networks of the registry, with tested encoders."""
    for architecture in NETWORKS:
        if architecture == "smp/Unet":
            yield from (f"{architecture}:{encoder}" for encoder in TESTED_ENCODERS)
        elif architecture.startswith("smp/"):
            yield f"{architecture}:{_DEFAULT_ENCODER}"
        else:
            yield architecture


def build_named(name: str) -> Network:
    """Build the network ARCHITECTURE[:ENCODER] with random weights.

    Raises:
        InputError: as `build_network`.
    """
    architecture, encoder = split_name(name)
    options = {"num_classes": _NUM_CLASSES, **_OPTIONS.get(architecture, {})}
    if encoder is not None:
        options["encoder"] = encoder
    return build_network(architecture, options)


def describe(name: str) -> NetworkFacts:
    """Describe the network ARCHITECTURE[:ENCODER], without computing with it.

    Raises:
        InputError: as `build_network`.
    """
    architecture, encoder = split_name(name)
    network = build_named(name).eval().to("meta")  # some cannot be built on the device meta
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *IMAGE_SIZE, device="meta"))
    radius = network.receptive_radius
    return NetworkFacts(
        architecture=architecture,
        encoder=encoder,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops=counter.get_total_flops(),
        stride=network.stride,
        receptive_field=None if radius is None else 2 * radius + 1,
        license=imagenet_license(encoder, f"smp-hub/{encoder}.imagenet") if encoder else "",
    )


def seconds_per_step(network: Network, accelerator: Accelerator) -> float:
    """Measure a training step with AdamW on random pixels of STEP_SHAPE; it changes the weights."""
    optimizer = torch.optim.AdamW(network.train().parameters())
    images = accelerator.pixels(torch.rand(STEP_SHAPE))
    class_ids = torch.randint(_NUM_CLASSES, (STEP_SHAPE[0], *STEP_SHAPE[2:]))
    class_ids = class_ids.to(accelerator.device)

    def step() -> None:
        loss = F.cross_entropy(accelerator.logits(network, images).float(), class_ids)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        next(network.parameters()).sum().item()  # waits for a GPU

    return _median_seconds(step)


@torch.inference_mode()
def seconds_per_image(network: Network, accelerator: Accelerator) -> float:
    """Measure the prediction of random pixels of IMAGE_SIZE."""
    network.eval()
    images = accelerator.pixels(torch.rand(1, 3, *IMAGE_SIZE))
    return _median_seconds(lambda: accelerator.logits(network, images).argmax(1).cpu())


def _median_seconds(function: Callable[[], object]) -> float:
    """Median over _REPEATS calls, after one that warms up."""
    seconds = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
