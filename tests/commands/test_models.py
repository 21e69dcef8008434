"""`roadseg models` without the optional package; tests/models/test_smp.py has the rest."""

import csv
from pathlib import Path

import pytest

from roadseg.commands import models
from roadseg.commands.main import main
from roadseg.models import network_facts
from roadseg.system.errors import InputError


def test_unet_has_the_reported_size(capsys):
    main(["models", "unet"])
    names, values = capsys.readouterr().out.splitlines()
    assert names.startswith("network  encoder  parameters (M)  GFLOPs  stride  receptive field")
    # 283 = 2 * 141 + 1; 564 GFLOPs: the sum of 2 * 9 * C * O * H * W over the convolutions
    assert values.split() == ["unet", "-", "17.3", "564", "16", "283", "exact", "-"]


def test_times_are_measured_and_written(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(network_facts, "IMAGE_SIZE", (20, 30))
    monkeypatch.setattr(network_facts, "STEP_SHAPE", (2, 3, 16, 16))
    monkeypatch.setitem(network_facts._OPTIONS["unet"], "base_channels", 4)
    options = ["--time", "--device", "cpu", "--precision", "fp32"]
    main(["models", "unet", *options, "--csv", str(tmp_path / "models.csv")])
    with (tmp_path / "models.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["network"] == "unet"
    assert 0 < float(row["s/step"]) < 60
    assert 0 < float(row["s/image"]) < 60
    assert "times: cpu, fp32, processor " in capsys.readouterr().out


def test_time_is_the_median_without_the_first_call(monkeypatch):
    clock, seconds = [0.0], iter([50, 1, 7, 2])
    monkeypatch.setattr(network_facts.time, "perf_counter", lambda: clock[0])

    def wait() -> None:
        clock[0] += next(seconds)

    assert network_facts._median_seconds(wait) == 2


def test_without_smp_the_other_networks_are_listed(monkeypatch, capsys):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    main(["models"])
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["network", "unet"]
    assert err.splitlines() == [
        "for the networks smp/..: the package segmentation_models_pytorch is not installed; run: "
        'pip install "roadseg[models]", or in the repository: pip install -r '
        "requirements-models.txt -c constraints.txt"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "model.architecture: no architecture 'nope'; use unet, smp/Unet"),
        ("unet:resnet34", "network.encoder: unknown key"),
    ],
)
def test_unknown_networks_are_refused(name: str, message: str):
    with pytest.raises(InputError, match=message):
        main(["models", name])
