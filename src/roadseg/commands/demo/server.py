"""The web server of `roadseg demo`.

GET /            the page
GET /about       description of the model and number of examples, as JSON
GET /examples/N  example image N
POST /predict    image file as the body -> its classes as JSON, or 400 with {"error": ..}

Shapes: H, W pixels.
"""

import asyncio
import base64
import io
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from roadseg.inference.colors import palette_image
from roadseg.inference.image_files import Source, find_images, read_image, select_evenly
from roadseg.inference.predictor import Predictor
from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

HOSTS = ["127.0.0.1", "localhost"]  # prevents DNS rebinding by other sites
PAGE = Path(__file__).with_name("page.html")
LARGEST_FILE = 64 << 20
"""Size of the largest accepted image file, bytes."""
_NUM_EXAMPLES = 4
_SHUTDOWN_TIMEOUT_S = 2
"""Time for requests to finish after Ctrl-C, seconds."""


def serve(predictor: Predictor, examples: Path, listening: socket.socket) -> None:
    """Serve predictions until the process is interrupted.

    The page offers some images of the folder `examples`, which may be missing.
    """
    server = _Server(predictor, select_evenly(_find_examples(examples), _NUM_EXAMPLES))
    config = uvicorn.Config(
        _application(server), log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S
    )
    uvicorn.Server(config).run(sockets=[listening])


def _application(server: "_Server") -> Starlette:
    return Starlette(
        routes=[
            Route("/", server.page),
            Route("/about", server.about),
            Route("/examples/{number:int}", server.example),
            Route("/predict", server.predict, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
    )


def _find_examples(folder: Path) -> list[Source]:
    try:
        return find_images([str(folder)])
    except InputError:  # the page offers no examples
        return []


class _Server:
    def __init__(self, predictor: Predictor, examples: list[Source]) -> None:
        self.predictor, self.examples = predictor, examples
        self._lock = asyncio.Lock()  # one image at a time is decoded and predicted

    async def page(self, _: Request) -> Response:
        return FileResponse(PAGE)

    async def about(self, _: Request) -> Response:
        class_map, (metadata, *others) = self.predictor.class_map, self.predictor.metadata
        rows = zip(class_map.names, class_map.hex_colors, strict=True)
        return JSONResponse(
            {
                "classes": [{"name": name, "color": color} for name, color in rows],
                "epoch": None if others else metadata.epoch,
                "val_miou": None if others else metadata.val_miou,
                "device": str(self.predictor.accelerator.device),
                "num_examples": len(self.examples),
            }
        )

    async def example(self, request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(self.examples):
            return Response(status_code=404)
        return FileResponse(self.examples[number].path)

    async def predict(self, request: Request) -> Response:
        if _is_foreign(request):
            return _error(403, "requests from other sites are refused")
        body = bytearray()
        try:
            with out_of_memory_as("out of memory; try a smaller image"):
                async for part in request.stream():
                    body += part
                    if len(body) > LARGEST_FILE:
                        return _error(413, f"the file is larger than {LARGEST_FILE >> 20} MiB")
                async with self._lock:
                    if await request.is_disconnected():  # while waiting for the lock
                        raise ClientDisconnect
                    return JSONResponse(await run_in_threadpool(self._predict, bytes(body)))
        except ClientDisconnect:
            return Response(status_code=400)  # is not sent
        except InputError as error:
            return _error(400, str(error))

    def _predict(self, file: bytes) -> dict[str, Any]:
        image = read_image(io.BytesIO(file), "the image")
        started = time.perf_counter()
        (class_ids,) = self.predictor.class_ids([image])
        seconds = time.perf_counter() - started
        class_map = self.predictor.class_map
        pixels = np.bincount(class_ids.reshape(-1), minlength=class_map.num_classes)
        return {
            "height": image.shape[0],
            "width": image.shape[1],
            "seconds": round(seconds, 3),
            "shares": (pixels / pixels.sum()).tolist(),  # in class order
            "class_ids": base64.b64encode(class_ids.tobytes()).decode(),  # row by row
            "color": _data_url(palette_image(class_ids, class_map.colors)),
            "label_ids": _data_url(Image.fromarray(class_map.label_ids()[class_ids])),
        }


def _is_foreign(request: Request) -> bool:
    """Return True for a request from another site (by Sec-Fetch-Site, or Origin if older)."""
    own = f"{request.url.scheme}://{request.headers['host']}"
    site = request.headers.get("sec-fetch-site", "none")
    return site not in ("none", "same-origin") or request.headers.get("origin", own) != own


def _error(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=status)


def _data_url(image: Image.Image) -> str:
    """Encode `image` as a PNG in a data URL."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
