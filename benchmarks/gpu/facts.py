"""Facts that the results depend on: hardware, driver, and versions of libraries."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from benchmarks.gpu.options import Options
from benchmarks.gpu.tests import NEEDED
from benchmarks.gpu.worker import REQUIRED, missing_packages

_PACKAGES = (
    *("torch", "triton", "nvidia-cudnn-cu13", "numpy", "pandas", "pillow", "safetensors"),
    *("pydantic", "ruamel.yaml", "charset-normalizer", "numba", "matplotlib", "tensorboard"),
    *("pytest", "timm", "torchvision"),
)
_MODULES = {
    "every part": REQUIRED,
    "reading masks": ("numba",),
    "tests": NEEDED,
    "plots": ("matplotlib",),
    "torch.compile": ("triton",),
}


def lines(options: Options) -> Iterator[str]:
    """Describe the machine; each fact is independent of the others."""
    yield f"- processor: {platform.machine()}, {os.cpu_count()} cores, {platform.platform()}"
    if shutil.which("nvidia-smi"):
        query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit"
        command = ["nvidia-smi", query, "--format=csv,noheader"]
        smi = subprocess.run(command, capture_output=True, text=True, check=False)
        yield f"- nvidia-smi: {(smi.stdout or smi.stderr).strip()}"
    found = {name: _version(name) for name in _PACKAGES}
    installed = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    yield f"- Python {platform.python_version()}, {installed}"
    for purpose, modules in _MODULES.items():
        if absent := missing_packages(modules):
            yield f"- missing for {purpose}: {', '.join(absent)}"
    yield from _torch_facts(options.device)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch_facts(device: str) -> Iterator[str]:
    import torch

    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else "none"
    yield f"- torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}, device {device}"
    if device != "cpu":
        properties = torch.cuda.get_device_properties(device)
        yield (
            f"- GPU: {properties.name}, {properties.multi_processor_count} multiprocessors, "
            f"{properties.total_memory / 2**30:.0f} GiB, compute capability "
            f"{properties.major}.{properties.minor}"
        )
        from benchmarks.gpu.timing import time_steps
        from benchmarks.table import MATRIX, MATRIX_FLOP, matrix_product

        types = (torch.float32, torch.bfloat16)
        products = time_steps(*(matrix_product(dtype, device) for dtype in types), device=device)
        fp32, bf16 = (MATRIX_FLOP / seconds / 1e12 for seconds in products)
        yield f"- matrix product {MATRIX}x{MATRIX}: fp32 {fp32:.0f}, bf16 {bf16:.0f} TFLOP/s"
