"""The parts of the training state that need no training."""

import pytest
import torch

from roadseg.training.train_state import _random_state, _restore_random_state


def test_random_state_is_that_of_the_gpu_that_trains(monkeypatch: pytest.MonkeyPatch):
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    states = {first: torch.tensor([1]), second: torch.tensor([2])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", states.__getitem__)
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: states.__setitem__(device, state)
    )
    saved = _random_state(second)
    states[second] = torch.tensor([3])
    _restore_random_state(second, saved)
    assert {device: state.item() for device, state in states.items()} == {first: 1, second: 2}
