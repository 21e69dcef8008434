"""List the networks that model.architecture and model.encoder can name, and their properties.

The receptive field is the side, in pixels, of the square of the image on which the class of a pixel
depends. Where that is the whole image, prediction in tiles is approximate (docs/networks.md).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.system.errors import missing_package

if TYPE_CHECKING:
    from roadseg.models.network_facts import NetworkFacts
    from roadseg.runtime.accelerator import Accelerator

_SMP = "segmentation_models_pytorch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the networks, --time, --device, --precision and --csv."""
    parser.add_argument(
        "networks",
        nargs="*",
        metavar="ARCHITECTURE[:ENCODER]",
        help="such as unet or smp/FPN:resnet50 (default: the tested ones)",
    )
    parser.add_argument(
        "--time",
        action="store_true",
        help="also measure a training step (96x320, batch of 2) and a prediction (375x1242)",
    )
    parser.add_argument(
        "--device", default="auto", help="device that --time measures: auto, cpu, mps, cuda, cuda:N"
    )
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the table to FILE")


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from tqdm import tqdm

    from roadseg.models.network_facts import describe, tested_networks
    from roadseg.runtime.accelerator import select_accelerator
    from roadseg.system.tables import write_table

    names, installed = args.networks or list(tested_networks()), find_spec(_SMP) is not None
    if not args.networks and not installed:
        names = [name for name in names if not name.startswith("smp/")]
    accelerator = select_accelerator(args.device, args.precision, "--") if args.time else None
    rows = []
    with tqdm(names, unit="network", leave=False, disable=None) as bar:
        for name in bar:
            bar.set_description(name)
            row = _row(describe(name))
            if accelerator:
                row.update(_seconds(name, accelerator))
            rows.append(row)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    print(_format(columns))
    if accelerator:
        machine = ", ".join(f"{key} {value}" for key, value in accelerator.description().items())
        print(f"times: {accelerator.device}, {accelerator.precision}, {machine}")
    if args.csv:
        write_table(args.csv, columns)
    if not installed:
        print(f"for the networks smp/..: {missing_package(_SMP, 'models')}", file=sys.stderr)


def _row(facts: "NetworkFacts") -> dict[str, str]:
    """Return the cells of the table by their columns."""
    field = facts.receptive_field
    return {
        "network": facts.architecture,
        "encoder": facts.encoder or "-",
        "parameters (M)": f"{facts.parameters / 1e6:.1f}",
        "GFLOPs": f"{facts.flops / 1e9:.0f}",
        "stride": str(facts.stride),
        "receptive field": "image" if field is None else str(field),
        "tiles": "approximate" if field is None else "exact",
        "license of weights": facts.license or "-",
    }


def _seconds(name: str, accelerator: "Accelerator") -> dict[str, str]:
    """Measure the two columns of --time."""
    from roadseg.models.network_facts import build_named, seconds_per_image, seconds_per_step
    from roadseg.runtime.determinism import make_deterministic
    from roadseg.system.memory import keep_freed_memory

    make_deterministic()
    keep_freed_memory()
    network = accelerator.to_device(build_named(name))
    return {
        "s/step": f"{seconds_per_step(network, accelerator):.3g}",
        "s/image": f"{seconds_per_image(network, accelerator):.3g}",
    }


def _format(columns: Mapping[str, Sequence[str]]) -> str:
    """Align the columns."""
    cells = [[name, *values] for name, values in columns.items()]
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in cells]
    return "\n".join("  ".join(row).rstrip() for row in zip(*padded, strict=True))
