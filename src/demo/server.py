"""The page's server: a picture goes in, its classes come out.

GET /            the page
GET /about       what the model is, and how many examples there are, as JSON
GET /examples/N  picture N of the examples
POST /predict    a picture's bytes as the body -> its classes as JSON, or 400 with {"error": ..}

Shapes: H, W pixels.
"""

import base64
import io
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from src.files import InputError
from src.inference.pictures import Source, found_pictures, read_picture, spaced
from src.inference.predictor import Predictor
from src.palette import palette_picture

HOSTS = ["127.0.0.1", "localhost"]  # else a foreign name that leads here could read the answers
PAGE = Path(__file__).with_name("page.html")
LARGEST_FILE = 64 << 20
"""Bytes of a picture's file that are taken."""
_NUM_EXAMPLES = 4


def application(predictor: Predictor, examples: Path) -> Starlette:
    """The server for one model.

    Args:
        examples: a folder of pictures; some of them are offered. It may be missing.
    """
    server = _Server(predictor, spaced(_pictures(examples), _NUM_EXAMPLES))
    return Starlette(
        routes=[
            Route("/", server.page),
            Route("/about", server.about),
            Route("/examples/{number:int}", server.example),
            Route("/predict", server.predict, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
    )


def _pictures(folder: Path) -> list[Source]:
    try:
        return found_pictures([str(folder)])
    except InputError:  # no examples, then
        return []


class _Server:
    def __init__(self, predictor: Predictor, examples: list[Source]) -> None:
        self.predictor, self.examples = predictor, examples
        self._turn = threading.Lock()  # one picture at a time, in memory and in the network

    async def page(self, _: Request) -> Response:
        return FileResponse(PAGE)

    async def about(self, _: Request) -> Response:
        class_map, description = self.predictor.class_map, self.predictor.description
        rows = zip(class_map.names, class_map.hex_colors, strict=True)
        return JSONResponse(
            {
                "classes": [{"name": name, "color": color} for name, color in rows],
                "epoch": description["epoch"],
                "val_miou": description["val_miou"],
                "device": str(self.predictor.machine.device),
                "num_examples": len(self.examples),
            }
        )

    async def example(self, request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(self.examples):
            return Response(status_code=404)
        return FileResponse(self.examples[number].path)

    async def predict(self, request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            # a browser sends it: another site's page may not make this computer work
            return JSONResponse({"error": "only for this computer's own page"}, status_code=403)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_FILE:
                reason = f"the file is larger than {LARGEST_FILE >> 20} MiB"
                return JSONResponse({"error": reason}, status_code=413)
        try:
            return JSONResponse(await run_in_threadpool(self._predicted, bytes(body)))
        except InputError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    def _predicted(self, file: bytes) -> dict[str, Any]:
        with self._turn:
            picture = read_picture(io.BytesIO(file), "the picture")
            started = time.perf_counter()
            (class_ids,) = self.predictor.class_ids([picture])
            seconds = time.perf_counter() - started
        class_map = self.predictor.class_map
        pixels = np.bincount(class_ids.reshape(-1), minlength=class_map.num_classes)
        return {
            "height": picture.shape[0],
            "width": picture.shape[1],
            "seconds": round(seconds, 3),
            "shares": (pixels / pixels.sum()).tolist(),  # in class order
            "class_ids": base64.b64encode(class_ids.tobytes()).decode(),  # row by row
            "color": _data_url(palette_picture(class_ids, class_map.colors)),
            "label_ids": _data_url(Image.fromarray(class_map.label_ids()[class_ids])),
        }


def _data_url(picture: Image.Image) -> str:
    """`picture` as a PNG that a page can show without asking for it."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
