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


def make_matrix(values: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make a matrix (len(values), columns) with these singular values; return U and V, too."""
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(len(values), len(values)))
    right, _ = torch.linalg.qr(torch.randn(columns, len(values)))
    return left * values @ right.T, left, right


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_singular_values_become_nearly_one_and_vectors_stay(scale):
    values = torch.logspace(0, -1.5, 24)
    matrix, left, right = make_matrix(scale * values, 60)
    result = left.T @ orthogonalize(matrix, torch.float32) @ right
    assert ((result.diagonal() > 0.7) & (result.diagonal() < 1.3)).all()
    assert (result - result.diagonal().diag()).abs().max() < 1e-3


def test_tiny_singular_values_are_raised_but_stay_small():
    values = torch.tensor([1.0, 1e-3, 0.0])
    matrix, left, right = make_matrix(values, 9)
    result = (left.T @ orthogonalize(matrix, torch.float32) @ right).diagonal()
    assert 0.01 < result[1] < 0.5
    assert result[2].abs() < 1e-3


def test_bf16_is_close_to_fp32():
    """The three digits of bf16 are relative to the largest value, and small ones are raised."""
    matrix, left, right = make_matrix(torch.logspace(0, -1.5, 64), 576)
    result = left.T @ orthogonalize(matrix, torch.bfloat16) @ right
    exact = left.T @ orthogonalize(matrix, torch.float32) @ right
    assert (result - exact).norm() < 0.15 * exact.norm()


def test_bf16_update_is_bounded_if_one_direction_dominates():
    values = torch.full((64,), 0.02)
    values[0] = 1.0
    matrix, _, _ = make_matrix(values, 576)
    assert torch.linalg.matrix_norm(orthogonalize(matrix, torch.float32), 2) < 1.3
    assert torch.linalg.matrix_norm(orthogonalize(matrix, torch.bfloat16), 2) < 4


def test_zeros_stay_zeros():
    assert torch.equal(orthogonalize(torch.zeros(3, 9), torch.float32), torch.zeros(3, 9))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 3, 3, 64), True),  # (O, 3, 3, C), channels_last
        ((64, 64, 3, 3), True),
        ((9, 1, 3, 3), True),
        ((64, 3, 3, 3), False),  # the first layer: O > M
        ((12, 64, 1, 1), False),
        ((64, 32, 2, 2), False),
        ((64,), False),
    ],
)
def test_is_filter_bank_for_3x3_filters_with_at_most_as_many_outputs_as_entries(shape, expected):
    assert is_filter_bank(torch.empty(shape)) is expected


def update(parameter: Tensor, gradients: list[Tensor], **changes: object) -> Tensor:
    """Return `parameter` after one step with each of `gradients`."""
    parameter = nn.Parameter(parameter.clone())
    optimizer = Muon([parameter], **{**SETTINGS, **changes})
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_filters_are_updated_by_the_orthogonalized_nesterov_average():
    torch.manual_seed(0)
    start, first, second = torch.randn(3, 4, 3, 3, 5)
    average = 0.1 * first
    after = 0.9998 * start - 0.02 * direction(0.1 * first + 0.9 * average)
    average = 0.9 * average + 0.1 * second
    after = 0.9998 * after - 0.02 * direction(0.1 * second + 0.9 * average)
    torch.testing.assert_close(update(start, [first, second]), after)


def direction(gradient: Tensor) -> Tensor:
    return orthogonalize(gradient.flatten(1), torch.float32).view_as(gradient)


def test_other_parameters_are_updated_by_adamw_without_decay():
    torch.manual_seed(0)
    start, *gradients = torch.randn(6, 4, 3, 1, 1)
    expected = nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([expected], lr=0.001, weight_decay=0.0, fused=True)
    for gradient in gradients:
        expected.grad = gradient.clone()
        optimizer.step()
    assert torch.equal(update(start, gradients), expected.detach())


def test_last_layer_is_updated_by_adamw():
    torch.manual_seed(0)
    start, gradient = torch.randn(2, 2, 3, 3, 2)
    expected, last = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    expected.grad, last.grad = gradient, gradient
    torch.optim.AdamW([expected], lr=0.001, weight_decay=0.0, fused=True).step()
    Muon([last], **SETTINGS, last_layer=last).step()
    assert torch.equal(last, expected)


def test_each_group_has_a_rate_of_its_own():
    torch.manual_seed(0)
    start, gradient = torch.randn(2, 2, 3, 3, 2)
    first, second = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first.grad, second.grad = gradient, gradient
    Muon([{"params": [first], "lr": 0.002}, {"params": [second]}], **SETTINGS).step()
    assert torch.equal(first, update(start, [gradient], lr=0.002))
    assert torch.equal(second, update(start, [gradient]))


def test_schedule_changes_both_learning_rates():
    filters, bias = nn.Parameter(torch.ones(2, 3, 3, 2)), nn.Parameter(torch.ones(2))
    optimizer = Muon([filters, bias], **{**SETTINGS, "weight_decay": 0.0})
    optimizer.param_groups[0]["lr"] = 0.01  # half
    filters.grad, bias.grad = torch.rand(2, 3, 3, 2), torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(bias.detach(), torch.full((2,), 1 - 0.0005))
    norms = torch.linalg.matrix_norm((1 - filters.detach()).flatten(1), 2)
    assert norms == pytest.approx(0.01, rel=0.3)


def test_parameter_without_gradient_is_not_updated():
    parameter = nn.Parameter(torch.ones(2, 3, 3, 2))
    Muon([parameter], **SETTINGS).step()
    assert torch.equal(parameter, torch.ones(2, 3, 3, 2))
