"""Importing a module compiles nothing, opens no file and changes no process-wide setting.

It needs no optional package of the networks either, and nothing that Windows lacks. Exceptions are
the modules of winograd on CPUs without their instructions, for which they cannot be compiled.
"""

import subprocess
import sys

from roadseg.commands.main import SUBCOMMANDS
from tests.factories import ROOT

CHECK = """
import importlib, os, pkgutil, signal, sys, threading, warnings
import PIL.Image
import matplotlib.pyplot, psutil, torch  # these use Unix modules on Unix
import numba.core.dispatcher

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for module, name in ((signal, "SIGHUP"), (signal, "SIGKILL"), (os, "getuid"), (os, "killpg")):
    delattr(module, name)

import roadseg, streetscenes, winograd
from roadseg.commands.main import SUBCOMMANDS, main

def open_files():
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sorted(os.readlink(link) for link in links if os.path.exists(link))

def settings():
    filters = [entry for entry in warnings.filters if "PIL" in str(entry[3])]
    return threading.excepthook, PIL.Image.MAX_IMAGE_PIXELS, filters, open_files()

for command in SUBCOMMANDS:
    try:
        main([command, "--help"])
    except SystemExit as stopped:
        assert stopped.code == 0
before = settings()
for package in (roadseg, streetscenes):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
winograd.is_available()  # imports its modules if the CPU has their instructions
assert settings() == before, (settings(), before)
assert len([name for name in sys.modules if name.startswith("roadseg.")]) > 60
assert not {"segmentation_models_pytorch", "timm", "torchvision"} & sys.modules.keys()
kernels = [
    kernel
    for name, module in list(sys.modules.items())
    if name.startswith(("roadseg.", "winograd."))
    for kernel in vars(module).values()
    if isinstance(kernel, numba.core.dispatcher.Dispatcher)
]
assert len(kernels) >= 2
assert not any(kernel.signatures for kernel in kernels)
"""


def test_importing_every_module_needs_no_unix_and_changes_no_global_setting():
    command = [sys.executable, "-W", "ignore", "-c", CHECK]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("usage: roadseg ") == len(SUBCOMMANDS)
