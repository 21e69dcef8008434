import pytest
import torch

from roadseg.training.schedule import (
    is_halved,
    one_cycle,
    reduce_on_plateau,
    set_learning_rate,
    validation_steps,
)


def test_one_cycle_rises_to_the_peak_and_falls_to_nearly_zero():
    rates = [one_cycle(step, 101, 0.5, 0.2) for step in range(101)]
    assert rates[0] == pytest.approx(0.5 / 25)
    assert rates[20] == pytest.approx(0.5) == max(rates)
    assert rates[-1] == pytest.approx(0.5e-4)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[60] == pytest.approx((0.5 + 0.5e-4) / 2)  # halfway down a cosine


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.99])
def test_one_cycle_of_few_steps_is_positive_and_at_most_the_peak(total, warmup):
    assert all(0 < one_cycle(step, total, 0.1, warmup) <= 0.1 for step in range(total))


def test_one_cycle_without_warmup_starts_at_the_peak():
    assert one_cycle(0, 10, 0.1, 0.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("num_steps", "times", "expected"),
    [(180, 2, {90, 180}), (57, 2, {29, 57}), (1, 2, {1}), (3, 5, {1, 2, 3}), (7, 1, {7})],
)
def test_validations_are_evenly_spaced_and_the_last_ends_the_epoch(num_steps, times, expected):
    assert validation_steps(num_steps, times) == expected


def test_plateau_lowers_the_rate_after_more_validations_than_its_patience():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "rate_factor": 0.5}], lr=1.0)
    schedule, rates = reduce_on_plateau(optimizer, patience=2), []
    for cross_entropy in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9):
        schedule.step(cross_entropy)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1])
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_is_halved_for_the_first_fraction_of_the_steps():
    assert [is_halved(step, 10, 0.25) for step in range(10)] == [True] * 3 + [False] * 7
    assert not any(is_halved(step, 10, 0.0) for step in range(10))
    assert all(is_halved(step, 10, 1.0) for step in range(10))
