"""A model of random weights, saved as train saves one."""

from pathlib import Path

import torch
from torch import nn

from roadseg.config.class_map import read_class_map
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from tests.conftest import ROOT


def saved_model(
    path: Path, classes: str = "kitti12", scale: float = 1.0, norm: str = "batch"
) -> Path:
    """Its predictions vary over a picture, so that a picture turned or shifted shows."""
    class_map = read_class_map(ROOT / f"classes/{classes}.yaml")
    count = class_map.num_classes
    unet = {"num_classes": count, "base_channels": 4, "bilinear": True, "norm": norm, "dropout": 0}
    torch.manual_seed(0)
    network = UNet(**unet)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.mul_(6**0.5)  # He et al. 2015: what lies deep arrives undiminished
            module.bias.data.zero_()
    metadata = ModelMetadata(
        unet=unet, classes=class_map, ignored_class=None, scale=scale, epoch=3, val_miou=0.25
    )
    save_weights(path, network.state_dict(), metadata)
    return path
