"""What a model's file says of it beside its weights; read without torch."""

import contextlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from src.files import InputError

KEY = "model"
"""Of the metadata; one key only: safetensors writes several in changing order."""


def read_description(path: Path) -> dict[str, Any]:
    """What `save_weights` wrote beside the weights. Raises InputError as `load_network` does."""
    with readable(path), safe_open(path, framework="np") as file:
        return json.loads((file.metadata() or {})[KEY])


def described_classes(path: Path) -> dict[str, Any] | None:
    """The class map of the model in `path`, None in a file that is not of this project."""
    try:
        return read_description(path)["classes"]
    except (InputError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Every way in which reading `path` can fail, as an InputError."""
    try:
        path.open("rb").close()  # of what may not be read, safetensors says that it is not there
        yield
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such model; run dvc repro train") from None
    except (SafetensorError, OSError, struct.error) as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a model of this project: {error!r}") from None
    except RuntimeError as error:  # load_state_dict lists every key, a line each
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: the weights do not fit the network: {reason}") from None
