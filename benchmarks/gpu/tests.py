"""The fast tests that concern a GPU, without the plugins and the settings of the whole suite."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.gpu.options import Options
from benchmarks.gpu.worker import missing_packages
from roadseg.provenance.source_code import ROOT

FILES = (
    "tests/gpu",
    *(f"tests/models/test_{name}.py" for name in ("losses", "norm", "pooling", "unet")),
    *(f"tests/evaluation/test_{name}.py" for name in ("accumulators", "boundaries", "metrics")),
    *(f"tests/training/test_{name}.py" for name in ("muon", "schedule", "train_step")),
    *(f"tests/{name}.py" for name in ("data/test_dataset", "runtime/test_accelerator")),
    *(f"tests/inference/test_{name}.py" for name in ("predictor", "tiling")),
)
"""The first runs on the GPU; the others check the versions of Python and of the libraries."""
NEEDED = ("pytest", "numba", "charset_normalizer", "requests", "tensorboard")


def lines(options: Options) -> Iterator[str]:
    """Run the tests and report their numbers and the failed ones.

    Raises:
        SystemExit: a test failed.
    """
    if missing := missing_packages(NEEDED):
        yield f"- skipped, because these are not installed: {', '.join(missing)}"
        return
    files = FILES[:1] if options.small else FILES
    command = [sys.executable, "-m", "pytest", "-q", "-rfEs", "-c", os.devnull]
    command += [f"--rootdir={ROOT}", "--import-mode=importlib", "-o", "markers=slow: is ignored"]
    command += ["-p", "no:cacheprovider", *files]
    environment = {
        **os.environ,
        "ROADSEG_TEST_DEVICE": options.device,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the machine may have any
    }
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    print(result.stdout, file=sys.stderr)
    for line in result.stdout.splitlines():
        if re.match(r"(FAILED|ERROR|SKIPPED) ", line):
            yield f"- {line[:300]}"
    yield f"- {len(files)} files or folders: {(result.stdout.splitlines() or ['no output'])[-1]}"
    if result.returncode:
        sys.exit(result.returncode)
