"""Alternatives to single operators; each function returns its sides by name, the present one first.

Shapes: N images, K classes, H and W pixels, P = N * H * W; O filters of M entries.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.timing import Work, with_default_kernels
from benchmarks.step import CLASSES, UNET
from roadseg.models.losses import bincount, nll_sum
from roadseg.models.unet import UNet
from roadseg.training.muon import POLYNOMIALS, is_filter_bank, orthogonalize

_LOVASZ_BINS = CLASSES * 1024 * 2


class Case(NamedTuple):
    """The size of the inputs."""

    device: str
    count: int
    """N."""
    height: int
    width: int


def nll_loss(case: Case) -> dict[str, Work]:
    """Loss and gradient of log-probabilities with class weights."""
    device, pixels = case.device, (case.count, case.height, case.width)
    log_probs = torch.randn(pixels[0], CLASSES, *pixels[1:], device=device).log_softmax(1)
    log_probs.requires_grad_()
    class_ids, weights = (
        torch.randint(0, CLASSES, pixels, device=device),
        torch.rand(CLASSES, device=device),
    )
    one_hot = class_ids[:, None] == torch.arange(CLASSES, device=device)[:, None, None]

    def of_rows() -> Tensor:
        rows = log_probs.permute(0, 2, 3, 1).reshape(-1, CLASSES)
        return F.nll_loss(rows, class_ids.reshape(-1), weights, reduction="none").sum()

    def by_gather() -> Tensor:
        return -(log_probs.gather(1, class_ids[:, None])[:, 0] * weights[class_ids]).sum()

    losses: dict[str, Callable[[], Tensor]] = {
        "nll_loss of (P, K), summed": lambda: nll_sum(log_probs, class_ids, weights)[0],
        "nll_loss of (P, K), not reduced, then sum": of_rows,
        "nll_loss of (N, K, H, W), not reduced, then sum": lambda: F.nll_loss(
            log_probs, class_ids, weights, reduction="none"
        ).sum(),
        "gather": by_gather,
        "product with one-hot": lambda: -(log_probs * one_hot * weights[:, None, None]).sum(),
    }
    _require_equal([loss().detach() for loss in losses.values()], 1e-4)
    return {name: _differentiation(loss, log_probs) for name, loss in losses.items()}


def histogram(case: Case) -> dict[str, Work]:
    """Counts of the bins of the Lovász loss; most errors are in the first bins."""
    errors = torch.rand(case.count * case.height * case.width * CLASSES, device=case.device)
    values = (errors.pow(8) * _LOVASZ_BINS).long().clamp(max=_LOVASZ_BINS - 1)
    edges = torch.arange(_LOVASZ_BINS + 1, device=case.device)

    def present() -> Tensor:
        return bincount(values, _LOVASZ_BINS)

    counts: dict[str, Callable[[], Any]] = {
        "bincount of roadseg": present,
        "torch.bincount, which waits for the device": lambda: torch.bincount(
            values, minlength=_LOVASZ_BINS
        ),
        "sort and searchsorted": lambda: torch.searchsorted(values.sort()[0], edges).diff(),
    }
    _require_equal([count() for count in counts.values()], 0)
    counts["bincount with atomic adds, exact for int64"] = with_default_kernels(present)
    if case.device != "cpu":  # where it takes no integers
        counts["torch.histc"] = lambda: torch.histc(values, _LOVASZ_BINS, 0, _LOVASZ_BINS)
    return counts


def upsampling(case: Case) -> dict[str, Work]:
    """Bilinear upsampling of the last level, forward and backward."""
    shape = (case.count, 2 * UNET["base_channels"], case.height // 2, case.width // 2)
    x = torch.randn(shape, device=case.device).bfloat16()
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    rows, columns = (_interpolation(side, case.device) for side in shape[2:])

    def interpolate() -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    class Native(torch.autograd.Function):
        """The kernel that torch replaces in deterministic mode, with another backward pass."""

        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            size = [2 * side for side in x.shape[2:]]
            return torch.ops.aten.upsample_bilinear2d(x, size, True)

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:
            return rows.T @ gradient @ columns

    upsampled: dict[str, Callable[[], Tensor]] = {
        "interpolate": interpolate,
        "two matrix products": lambda: rows @ x @ columns.T,
        "native kernel, gradient by matrix products": lambda: Native.apply(x),
    }
    noise = torch.randn_like(interpolate())
    sides = {
        name: _differentiation(lambda up=up: (up() * noise).sum(), x)
        for name, up in upsampled.items()
    }
    _require_equal([up().detach() for up in upsampled.values()], 0.02)
    _require_equal([side()[0] for side in sides.values()], 0.02)
    return {
        **sides,
        "interpolate with atomic adds, not deterministic": with_default_kernels(
            sides["interpolate"]
        ),
    }


def muon(device: str, dtype: torch.dtype, base_channels: int) -> dict[str, Work]:
    """Muon's updates of all filters of the network."""
    with torch.device("meta"):
        network = UNet(num_classes=CLASSES, **{**UNET, "base_channels": base_channels})
    shapes = [p.flatten(1).shape for p in network.parameters() if is_filter_bank(p)]
    matrices = [torch.randn(shape, device=device) for shape in shapes]

    def batched() -> list[Tensor]:
        stacks = [[m for m in matrices if m.shape == shape] for shape in sorted(set(shapes))]
        return [_orthogonalize_all(torch.stack(stack), dtype) for stack in stacks]

    pair = orthogonalize(matrices[0], dtype), _orthogonalize_all(matrices[0][None], dtype)[0]
    _require_equal(pair, 0.05)
    return {
        f"{len(matrices)} filters one by one": lambda: [orthogonalize(m, dtype) for m in matrices],
        f"batched by shape, {len(set(shapes))} shapes": batched,
    }


def _differentiation(loss: Callable[[], Tensor], leaf: Tensor) -> Work:
    return lambda: torch.autograd.grad(loss(), leaf)


def _require_equal(values: list[Tensor] | tuple[Tensor, ...], tolerance: float) -> None:
    first = values[0].double()
    for other in values[1:]:
        difference = float((other.double() - first).norm() / first.norm())
        if difference > tolerance:
            raise ArithmeticError(f"the alternatives differ by {difference:.1e}")


def _interpolation(side: int, device: str) -> Tensor:
    """Return the (2 side, side) bfloat16 matrix of bilinear upsampling with align_corners."""
    positions = torch.arange(2 * side, device=device) * (side - 1) / (2 * side - 1)
    distances = positions[:, None] - torch.arange(side, device=device)
    return (1 - distances.abs()).clamp(min=0).to(torch.bfloat16)


def _orthogonalize_all(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """`orthogonalize` of matrices of one shape, (B, O, M) float32."""
    x = matrices.to(dtype)
    gram = (x @ x.mT).float()  # (B, O, O)
    bound = torch.linalg.matrix_norm(gram, keepdim=True).clamp(min=1e-30)
    gram = ((gram + gram.mT) / (2 * bound)).to(dtype)
    factors = []
    for a, b, c in POLYNOMIALS:
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        factors.append(factor)
        gram = gram @ factor @ factor
    return ((reduce(torch.matmul, factors) / bound.sqrt()).to(dtype) @ x).float()
