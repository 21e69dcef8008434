import pytest
import torch

from roadseg.models.unet import UNet

SMALL = {"num_classes": 5, "base_channels": 4, "bilinear": True, "norm": "batch", "dropout": 0.0}


def make_network(**changes) -> UNet:
    torch.manual_seed(0)
    return UNet(**{**SMALL, **changes})


def test_parameters_equal_those_of_the_network_in_the_report():
    report = make_network(num_classes=12, base_channels=64)
    assert sum(parameter.numel() for parameter in report.parameters()) == 17_268_108
    modules = list(dict.fromkeys(name.split(".")[0] for name, _ in report.named_parameters()))
    downs, ups = [f"down{i}" for i in range(1, 5)], [f"up{i}" for i in range(1, 5)]
    assert modules == ["inc", *downs, *ups, "out"]
    shapes = [tuple(p.shape) for p in report.inc.parameters()]
    assert shapes == [(64, 3, 3, 3), (64,), (64,), (64,), (64, 64, 3, 3), (64,), (64,), (64,)]


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("size", [(16, 16), (37, 53), (47, 64)])
def test_logits_have_the_size_of_the_image(bilinear, norm, size):
    logits = make_network(bilinear=bilinear, norm=norm).eval()(torch.rand(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert torch.isfinite(logits).all()


def test_transposed_convolutions_need_more_parameters():
    counts = [sum(p.numel() for p in make_network(bilinear=b).parameters()) for b in (True, False)]
    assert counts[0] < counts[1]


def test_logits_do_not_depend_on_other_images_of_the_batch():
    unet = make_network().eval()
    images = torch.rand(3, 3, 32, 48)
    together = unet(images)
    for i in range(3):
        # not bit-identical: the order of summation may depend on the batch size
        torch.testing.assert_close(unet(images[i : i + 1])[0], together[i], rtol=1e-5, atol=1e-5)


def test_group_norm_does_not_depend_on_the_batch_during_training():
    images = torch.rand(3, 3, 32, 48)
    for norm, same in (("group", True), ("batch", False)):
        unet = make_network(norm=norm).train()
        close = torch.allclose(unet(images[:1]), unet(images)[:1], rtol=1e-4, atol=1e-4)
        assert close == same


def test_dropout_is_active_only_during_training():
    unet = make_network(dropout=0.5, norm="group")
    image = torch.rand(1, 3, 32, 48)
    assert not torch.equal(unet.train()(image), unet.train()(image))
    assert torch.equal(unet.eval()(image), unet.eval()(image))
