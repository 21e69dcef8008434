"""Serve a local web page to try a model.

Drop an image on the page to see its classes as an overlay, and the fraction of each class. Nothing
leaves the computer.
"""

import argparse
import socket
from pathlib import Path

from roadseg.inference.options import add_predictor_options, build_predictor, model_paths

HOST = "127.0.0.1"  # only this computer can connect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model options, --port and --examples."""
    add_predictor_options(parser)
    parser.add_argument(
        "--port",
        type=int,
        default=8000,
        choices=range(65536),
        metavar="N",
        help="0 chooses a free port (default: %(default)s)",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        default=Path("data/raw/testing/image_2"),
        metavar="FOLDER",
        help="images that the page offers as examples (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    from roadseg.commands.demo.server import serve
    from roadseg.inference.ensemble import join_names

    predictor = build_predictor(args)
    with socket.create_server((HOST, args.port)) as listening:
        port = listening.getsockname()[1]
        names = join_names(model_paths(args))
        print(f"demo: {names} at http://{HOST}:{port}/ (press Ctrl-C to stop)", flush=True)
        serve(predictor, args.examples, listening)
