"""Hostile files in the formats of torch.save and pickle, as initial weights (train.start)."""

import io
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.mutation import mutate_bytes
from tests.fuzz.starts import ENDINGS, make_case, make_network, save_bytes

EVIL = "evil.txt"
CODE = f"open({EVIL!r}, 'w').write('ran')"


def change_members(rng: random.Random, work: Path) -> Case:
    """Change, add, compress or remove members of the zip file that torch.save writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(save_bytes(make_network().state_dict()))) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    for _ in range(rng.randint(1, 2)):
        name = rng.choice([*contents, *(n for n in contents if n.endswith("data.pkl"))])
        top, kind = name.split("/")[0], rng.randrange(6)
        if kind == 0:
            del contents[name]
            contents.setdefault(f"{top}/x", b"")
        elif kind == 1:
            contents[name] = mutate_bytes(rng, contents[name])
        elif kind == 2:
            contents[name] = rng.choice((b"", contents[name][:-1], contents[name] * 3))
        elif kind == 3:
            odd = ("constants.pkl", "code/x.py", "../x", "byteorder", ".format_version", "version")
            contents[f"{top}/{rng.choice(odd)}"] = rng.choice(
                (b"", b"big", b"9" * 30, b"\x80\x02N.")
            )
        elif kind == 4:
            contents = {f"other/{n.split('/', 1)[1]}": data for n, data in contents.items()}
        else:
            contents[name] = bytes(20_000_000)
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in contents.items():
            target.writestr(zipfile.ZipInfo(name), data, method)  # without the current time
    return make_case(work, buffer.getvalue(), ".pth")


class CallOnUnpickle:
    """Unpickling it calls the function."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


def _pickle_call(module: str, name: str, args: bytes, protocol: int) -> bytes:
    """Write a pickle that calls a function, by name, with `args` (opcodes)."""
    if protocol < 4:
        return b"c" + f"{module}\n{name}\n".encode() + b"(" + args + b"tR."
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04" + words + b"\x93(" + args + b"tR."


FUNCTIONS = (
    *(("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec")),
    *(("subprocess", "Popen"), ("builtins", "__import__"), ("torch", "load"), ("torch", "hub.x")),
    *(("torch.storage", "_load_from_bytes"), ("numpy", "load"), ("pathlib", "Path.unlink")),
    *(("builtins", "getattr"), ("torch._utils", "_rebuild_tensor_v2"), ("torch", "device")),
    *(("collections", "OrderedDict"), ("builtins", "bytearray"), ("torch", "FloatStorage")),
    *(("torch", "Size"), ("torch.nn.parameter", "Parameter"), ("torch", "Tensor"), ("x", "y")),
    *(("torch._utils", "_rebuild_parameter"), ("torch", "zeros"), ("_codecs", "encode")),
)


def make_pickles(rng: random.Random, work: Path) -> Case:
    """Write a pickle that runs code or allocates memory, with or without torch.save's zip file."""
    kind = rng.randrange(6)
    protocol = rng.randrange(6)
    if kind == 0:
        call = rng.choice(
            (
                CallOnUnpickle(eval, CODE),
                CallOnUnpickle(exec, CODE),
                CallOnUnpickle(bytearray, 10**13),
            )
        )
        state = {"out.weight": torch.ones(1), "x": call}
        data = rng.choice((pickle.dumps(state, protocol), pickle.dumps(call, protocol)))
    elif kind == 1:
        texts = (CODE, f"touch {EVIL}", "x", "cuda:0", "meta")
        numbers = (0, 1, 10**9, 10**13, -1, 2**63)
        args = b"".join(
            f"V{rng.choice(texts)}\n".encode()
            if rng.random() < 0.5
            else f"L{rng.choice(numbers)}L\n".encode()
            for _ in range(rng.randrange(3))
        )
        data = _pickle_call(*rng.choice(FUNCTIONS), args, protocol)
    elif kind == 2:
        data = mutate_bytes(rng, pickle.dumps({"a": [1, 2.0, "x", None, (1,)]}, protocol))
    elif kind == 3:
        deep: Any = []
        for _ in range(rng.choice((10, 400))):
            deep = [deep, {"a": deep}] if rng.random() < 0.1 else [deep]
        data = rng.choice((pickle.dumps(deep, 2), b"(" * 50_000 + b".", b"]" + b"2" * 1000 + b"."))
    elif kind == 4:
        data = b"\x80\x02" + bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
    else:
        data = b"\x80\x02X" + struct.pack("<I", rng.choice((0, 9, 2**31, 2**32 - 1))) + b"x."
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr(zipfile.ZipInfo("start/data.pkl"), data)
            file.writestr(zipfile.ZipInfo("start/version"), "3\n")
        data = buffer.getvalue()
    return make_case(work, data, rng.choice((".pth", ".pth", ".pth", *ENDINGS)), fits=False)


class SomeTensor(Tensor):
    """A subclass of Tensor, as some libraries save."""


def _odd_tensor(rng: random.Random, like: Tensor) -> Any:
    floats = like.float()
    some = torch.ones(2, 2)
    make = rng.choice(
        (
            lambda: floats.to_sparse(),
            lambda: torch.sparse_coo_tensor(torch.zeros(1, 1), [1.0], (2**40,)),
            lambda: some.to_sparse_csr(),
            lambda: torch.quantize_per_tensor(floats, 0.1, 0, torch.qint8),
            lambda: floats.to("meta"),
            lambda: torch.ones(1).expand(like.shape if like.dim() else (1,)),
            lambda: torch.ones(1).expand(2**20, 2**20),
            lambda: nn.Parameter(floats),
            lambda: floats.as_subclass(SomeTensor),
            lambda: floats.to(torch.complex64),
            lambda: floats.to(torch.float8_e4m3fn),
            lambda: floats.to(torch.bfloat16),
            lambda: floats.half(),
            lambda: floats.double() * 1e300,
            lambda: floats.to(torch.complex64).conj().imag,
            lambda: floats.int(),
            lambda: floats > 0,
            lambda: floats * float("nan"),
            lambda: floats.flatten(),
            lambda: floats.numpy(),
            lambda: torch.empty(0),
            lambda: torch.tensor(1.0),
            lambda: floats.tolist(),
            lambda: floats.untyped_storage(),
            lambda: None,
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about experimental features
        return make()


def change_values(rng: random.Random, work: Path) -> Case:
    """Save objects other than a plain state dict."""
    right = make_network().state_dict()
    state: dict[Any, Any] = dict(right)
    for _ in range(rng.randint(1, 2)):
        name = rng.choice([*right])
        kind = rng.randrange(5)
        if kind <= 2:
            state[name] = _odd_tensor(rng, right[name])
        elif kind == 3:
            odd = ("", "x", 7, None, ("a",), "module.", "a\nb", "\x1b[31mred", "out.weight")
            state[rng.choice((*odd, "x" * 3000))] = right[name]
        else:
            state.pop(name, None)
    wrapped = (
        *(state, state, OrderedDict(state), {"model": state, "epoch": 3}, {"a": {"b": state}}),
        *([state], list(state.values()), tuple(state), state.get("out.weight"), None, 1, "x", {}),
        *({"a": 1, "b": "text"}, {f"m.{name}": v for name, v in state.items()}, set(), b"x"),
        {f"module.{name}": v for name, v in state.items()},
    )
    try:
        data = save_bytes(rng.choice(wrapped), legacy=rng.random() < 0.3)
    except (RuntimeError, NotImplementedError, AttributeError, pickle.PicklingError, ValueError):
        data = save_bytes({"a": 1})  # the legacy format cannot hold sparse and meta tensors
    return make_case(work, data, ".pth")


KINDS: dict[str, CaseBuilder] = {
    "start members": change_members,
    "start pickles": make_pickles,
    "start values": change_values,
}
