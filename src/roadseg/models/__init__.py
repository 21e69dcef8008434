"""The network, its layers and losses, pretrained weights, and file formats."""
