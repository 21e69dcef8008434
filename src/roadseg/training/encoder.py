"""Fine-tuning of a pretrained encoder: epochs in which it is frozen, and frozen statistics."""

from torch import nn

from roadseg.config.recipe import Recipe
from roadseg.models.network import Network
from roadseg.training.train_state import TrainState, wrap_network


def freeze_encoder(state: TrainState, recipe: Recipe) -> None:
    """Freeze or train the encoder, as `recipe` has it in the current epoch of `state`.

    The parameters of a frozen encoder need no gradients, so that backward passes end at its outputs
    and optimizers skip it. It is in evaluation mode, so that its batch norms use and keep their
    running statistics. With `encoder_norm: frozen` they always do, but are trained otherwise.
    """
    network, frozen = state.network, state.epoch < recipe.encoder_frozen
    if frozen:
        network.frozen_modules = tuple(network.encoder_modules())
    else:
        network.frozen_modules = _batch_norms(network) if recipe.encoder_norm == "frozen" else ()
    parameters = network.encoder_parameters()
    if any(parameter.requires_grad for parameter in parameters) == frozen:
        for parameter in parameters:
            parameter.requires_grad_(not frozen)
        if state.ddp is not None:  # it only sums gradients that were needed when it was created
            wrap_network(state)


def _batch_norms(network: Network) -> tuple[nn.Module, ...]:
    """Return the batch norms of the encoder."""
    modules = (module for part in network.encoder_modules() for module in part.modules())
    return tuple(module for module in modules if isinstance(module, nn.BatchNorm2d))
