"""The networks by the name that `model.architecture` has in params.yaml.

To add a network, write a subclass of Network and add it to NETWORKS.
"""

from collections.abc import Mapping
from typing import Any

from roadseg.config.schema import validate
from roadseg.models.network import Network
from roadseg.models.smp import SMP_NETWORKS
from roadseg.models.unet import UNet
from roadseg.system.errors import InputError

NETWORKS: dict[str, type[Network]] = {"unet": UNet, **SMP_NETWORKS}


def network_class(architecture: str) -> type[Network]:
    """Return the class of `architecture`.

    Raises:
        InputError: there is no such architecture.
    """
    if architecture not in NETWORKS:
        raise InputError(
            f"model.architecture: no architecture {architecture!r}; use {', '.join(NETWORKS)}"
        )
    return NETWORKS[architecture]


def validate_options(architecture: str, options: Mapping[str, object]) -> dict[str, Any]:
    """Return all keyword arguments of the class of `architecture`, with its defaults.

    Raises:
        InputError: there is no such architecture, or an option is missing, unknown or out of range.
    """
    cls = network_class(architecture)
    try:
        return validate(cls.Options, dict(options)).model_dump()
    except InputError as error:
        raise InputError(f"network.{error}; expected the options of {architecture}") from None


def build_network(architecture: str, options: Mapping[str, object]) -> Network:
    """Build the network of `architecture` with random weights.

    Args:
        options: the keyword arguments of its class, `num_classes` among them.

    Raises:
        InputError: there is no such architecture or encoder, an option is missing, unknown or out
            of range, or segmentation_models_pytorch is not installed.
    """
    return network_class(architecture)(**validate_options(architecture, options))
