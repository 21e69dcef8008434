"""A local page to try a model: roadseg demo, or `make demo`

One drops a picture and sees its classes over it, and their shares. Nothing leaves the computer.
"""

import argparse
import socket
from pathlib import Path

from roadseg.inference.options import add_model_options, build_predictor
from roadseg.system.cli import run_main
from roadseg.system.errors import InputError

HOST = "127.0.0.1"  # this computer alone


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    try:
        from roadseg.commands.demo_server import serve
    except ImportError as error:
        raise InputError(
            f"the page needs {error.name}: "
            "pip install -r requirements-demo.txt -c constraints.txt, or make demo"
        ) from None
    predictor = build_predictor(args)
    with socket.create_server((HOST, args.port)) as listening:
        port = listening.getsockname()[1]
        print(f"demo: {args.model} at http://{HOST}:{port}/ - Ctrl-C ends it", flush=True)
        serve(predictor, args.examples, listening)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="roadseg demo", description=__doc__.split("\n\n", 1)[1])
    add_model_options(parser)
    parser.add_argument(
        "--port",
        type=int,
        default=8000,
        choices=range(65536),
        metavar="N",
        help="0 is any that is free (%(default)s)",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        default=Path("data/raw/testing/image_2"),
        metavar="FOLDER",
        help="of pictures that the page offers (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    run_main(main)
