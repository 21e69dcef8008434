"""Licences of published encoder weights."""

_IMAGENET_LICENSES = {
    **dict.fromkeys(
        ("resnet18", "resnet34", "resnet50", "mobilenet_v2"), "BSD-3-Clause (torchvision)"
    ),
    "efficientnet-b0": "Apache-2.0 (EfficientNet-PyTorch)",
}


def license_of(encoder: str) -> str:
    """Return the licence of the imagenet weights of `encoder`."""
    return _IMAGENET_LICENSES.get(encoder, "unknown")
