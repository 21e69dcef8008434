import pytest
import torch
from torch import Tensor, nn

from roadseg.training.muon import Muon, is_filter_bank, orthogonalize

SETTINGS = {
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "rest_lr": 0.001,
    "dtype": torch.float32,
}


def with_singular_values(values: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix (len(values), columns) of these singular values, and the singular vectors."""
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(len(values), len(values)))
    right, _ = torch.linalg.qr(torch.randn(columns, len(values)))
    return left * values @ right.T, left, right


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_singular_values_come_near_one_and_vectors_stay(scale):
    values = torch.logspace(0, -1.5, 24)
    matrix, left, right = with_singular_values(scale * values, 60)
    found = left.T @ orthogonalize(matrix, torch.float32) @ right
    assert ((found.diagonal() > 0.7) & (found.diagonal() < 1.3)).all()
    assert (found - found.diagonal().diag()).abs().max() < 1e-3


def test_smaller_ones_are_raised_but_stay_small():
    values = torch.tensor([1.0, 1e-3, 0.0])
    matrix, left, right = with_singular_values(values, 9)
    found = (left.T @ orthogonalize(matrix, torch.float32) @ right).diagonal()
    assert 0.01 < found[1] < 0.5
    assert found[2].abs() < 1e-3


def test_in_bf16_it_is_nearly_the_same():
    """Its three digits are those of the largest singular value, and small ones are raised."""
    matrix, left, right = with_singular_values(torch.logspace(0, -1.5, 64), 576)
    found = left.T @ orthogonalize(matrix, torch.bfloat16) @ right
    exact = left.T @ orthogonalize(matrix, torch.float32) @ right
    assert (found - exact).norm() < 0.15 * exact.norm()


def test_in_bf16_one_dominating_direction_leaves_the_others_bounded():
    values = torch.full((64,), 0.02)
    values[0] = 1.0
    matrix, _, _ = with_singular_values(values, 576)
    assert torch.linalg.matrix_norm(orthogonalize(matrix, torch.float32), 2) < 1.3
    assert torch.linalg.matrix_norm(orthogonalize(matrix, torch.bfloat16), 2) < 4


def test_nothing_gives_nothing():
    assert torch.equal(orthogonalize(torch.zeros(3, 9), torch.float32), torch.zeros(3, 9))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 3, 3, 64), True),  # (O, 3, 3, C), as it is in memory
        ((64, 64, 3, 3), True),
        ((9, 1, 3, 3), True),
        ((64, 3, 3, 3), False),  # the first layer: more filters than a filter has entries
        ((12, 64, 1, 1), False),
        ((64, 32, 2, 2), False),
        ((64,), False),
    ],
)
def test_which_parameters_are_filter_banks(shape, expected):
    assert is_filter_bank(torch.empty(shape)) is expected


def moved(parameter: Tensor, gradients: list[Tensor], **changes: object) -> Tensor:
    """`parameter` after a step with each of `gradients`."""
    parameter = nn.Parameter(parameter.clone())
    optimizer = Muon([parameter], **{**SETTINGS, **changes})
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_filters_move_by_the_orthogonal_part_of_the_average_looking_ahead():
    torch.manual_seed(0)
    start, first, second = torch.randn(3, 4, 3, 3, 5)
    average = 0.1 * first
    after = 0.9998 * start - 0.02 * direction(0.1 * first + 0.9 * average)
    average = 0.9 * average + 0.1 * second
    after = 0.9998 * after - 0.02 * direction(0.1 * second + 0.9 * average)
    torch.testing.assert_close(moved(start, [first, second]), after)


def direction(gradient: Tensor) -> Tensor:
    return orthogonalize(gradient.flatten(1), torch.float32).view_as(gradient)


def test_the_rest_moves_as_by_adamw_without_decay():
    torch.manual_seed(0)
    start, *gradients = torch.randn(6, 4, 3, 1, 1)
    theirs = nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([theirs], lr=0.001, weight_decay=0.0, fused=True)
    for gradient in gradients:
        theirs.grad = gradient.clone()
        optimizer.step()
    assert torch.equal(moved(start, gradients), theirs.detach())


def test_a_schedule_moves_both_rates():
    filters, bias = nn.Parameter(torch.ones(2, 3, 3, 2)), nn.Parameter(torch.ones(2))
    optimizer = Muon([filters, bias], **{**SETTINGS, "weight_decay": 0.0})
    optimizer.param_groups[0]["lr"] = 0.01  # half
    filters.grad, bias.grad = torch.rand(2, 3, 3, 2), torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(bias.detach(), torch.full((2,), 1 - 0.0005))
    norms = torch.linalg.matrix_norm((1 - filters.detach()).flatten(1), 2)
    assert norms == pytest.approx(0.01, rel=0.3)


def test_a_parameter_without_a_gradient_stays():
    parameter = nn.Parameter(torch.ones(2, 3, 3, 2))
    Muon([parameter], **SETTINGS).step()
    assert torch.equal(parameter, torch.ones(2, 3, 3, 2))
