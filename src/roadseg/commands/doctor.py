"""Report what is installed, what is missing, and how to install it.

In a project, DVC, git and the pinned versions are checked too. The exit code is 1 if something
necessary is missing, and 0 if only optional parts are. Nothing is changed, and no network is used.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil

from roadseg.system.errors import InputError, escape_unprintable
from roadseg.system.memory import available_bytes

_GIB = 1 << 30
_LOW_MEMORY, _LOW_DISK = 2 * _GIB, 2 * _GIB
"""A training of the default network on the sample needs less; bytes."""
_INSTALLERS = {
    "apt-get": "apt-get install {}",
    "dnf": "dnf install {}",
    "zypper": "zypper install {}",
    "pacman": "pacman -S {}",
    "apk": "apk add {}",
}
"""Package managers of Linux, and their commands."""


class Finding(NamedTuple):
    """One line of the report."""

    item: str
    found: str
    fix: str = ""
    """A shell command or an advice; empty if nothing is missing."""
    necessary: bool = True
    """The basic commands, or in a project the pipeline, do not work without it."""

    @property
    def state(self) -> str:
        """`ok`, `missing`, or `optional`, which is missing but not necessary."""
        return "ok" if not self.fix else "missing" if self.necessary else "optional"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the project is the working directory."""


def run(args: argparse.Namespace) -> None:
    """Print one line per finding.

    Raises:
        InputError: something necessary is missing.
    """
    is_project = Path("dvc.yaml").is_file() and Path("stages").is_dir()
    findings = [*_python(), *_torch(), *_computer(), *_programs(is_project)]
    if is_project:
        findings += _project()
    findings += _extras()
    width = max(len(finding.item) for finding in findings)
    for finding in findings:
        fix = f"; {finding.fix}" if finding.fix else ""
        line = f"{finding.state:<8}  {finding.item:<{width}}  {finding.found}{fix}"
        print(escape_unprintable(line))
    if missing := [finding.item for finding in findings if finding.state == "missing"]:
        raise InputError(f"doctor: missing or not as needed: {', '.join(missing)}")


def install_command(program: str) -> str:
    """Return the command that installs `git` or `make` on this system."""
    if sys.platform == "darwin":
        return "xcode-select --install"
    if sys.platform == "win32":
        return f"winget install {'Git.Git' if program == 'git' else 'GnuWin32.Make'}"
    sudo = "sudo " if shutil.which("sudo") else ""
    for manager, command in _INSTALLERS.items():
        if shutil.which(manager):
            return sudo + command.format(program)
    return f"install {program} with the package manager of this system"


def _python() -> Iterator[Finding]:
    version = f"{platform.python_version()} on {platform.platform(terse=True)}, in {sys.prefix}"
    old = sys.version_info < (3, 11)
    yield Finding("Python", version, "install Python 3.11 or newer" if old else "")
    try:
        version, unmet = metadata.version("roadseg"), _unmet_requirements("")
    except metadata.PackageNotFoundError:
        yield Finding("roadseg", "used without installation", "run: pip install -e .", False)
        return
    found = f"lacks {', '.join(unmet)}" if unmet else "with the packages it needs"
    yield Finding("roadseg", f"{version} {found}", f"run: {_pip(unmet)}" if unmet else "")


def _unmet_requirements(extra: str) -> list[str]:
    """List the requirements of `extra` ("": of the package itself) that are not installed."""
    from packaging.requirements import Requirement

    unmet = []
    for requirement in map(Requirement, metadata.requires("roadseg") or []):
        marker = requirement.marker
        if marker.evaluate({"extra": extra}) if marker else not extra:
            version = _version(requirement.name)
            if not version or not requirement.specifier.contains(version, prereleases=True):
                unmet.append(f"{requirement.name}{requirement.specifier}")
    return unmet


def _version(package: str) -> str | None:
    """Return the installed version of `package`, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pip(requirements: Sequence[str]) -> str:
    """Return the command that installs `requirements`, which contain > and [."""
    return " ".join(["pip install", *(f'"{requirement}"' for requirement in requirements)])


def _torch() -> Iterator[Finding]:
    """Report the build of torch and the device that `--device auto` selects."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        yield Finding("torch", f"cannot be imported ({error})", f"run: {_pip(['torch'])}")
        return
    versions = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    build = next((f"{name} {version}" for name, version in versions.items() if version), "CPU")
    yield Finding("torch", f"{torch.__version__}, {build} build")
    try:
        found, is_cpu = _describe_device()
    except RuntimeError as error:  # of the driver
        yield Finding("device", f"{error}", "update the driver of the GPU, or use --device cpu")
        return
    fix = ""
    if is_cpu and _has_nvidia_gpu():
        cuda_build = 'install the CUDA build, see "Get started" on pytorch.org'
        advice = "update its driver" if versions["CUDA"] else cuda_build
        fix = f"torch does not see the NVIDIA GPU: {advice}"
    yield Finding("device", found, fix, False)


def _describe_device() -> tuple[str, bool]:
    """Return a description of the device that `--device auto` selects, and True for the CPU."""
    from roadseg.runtime.accelerator import select_accelerator

    accelerator = select_accelerator("auto", "auto")
    details = ", ".join(f"{key} {value}" for key, value in accelerator.description().items())
    bf16 = "native" if accelerator.precision == "bf16" else "not native, so fp32 is used"
    found = f"{accelerator.device}, {details}, bf16 {bf16}"
    if free := accelerator.free_bytes():
        found += f", {free / _GIB:.0f} GiB free"
    return found, accelerator.device.type == "cpu"


def _has_nvidia_gpu() -> bool:
    """Return True if the NVIDIA driver lists a GPU."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU 0" in listed.stdout


def _computer() -> Iterator[Finding]:
    memory, disk = available_bytes(), shutil.disk_usage(".").free
    total = f"{memory / _GIB:.1f} of {psutil.virtual_memory().total / _GIB:.1f} GiB available"
    fix = "close other programs, or use smaller images (remap.scale)"
    yield Finding("memory", total, fix if memory < _LOW_MEMORY else "", False)
    fix = "make room; torch with CUDA alone takes 5 GB"
    free = f"{disk / _GIB:.1f} GiB free in {os.getcwd()}"
    yield Finding("disk", free, fix if disk < _LOW_DISK else "", False)


def _programs(is_project: bool) -> Iterator[Finding]:
    """Report DVC and what it needs; a project cannot do without them."""
    dvc = _version("dvc")
    install = "run: " + (
        "pip install -r requirements.txt -c constraints.txt"
        if is_project
        else _pip(["roadseg[pipeline]"])
    )
    yield Finding("DVC", dvc or "not installed", "" if dvc else install, is_project)
    for program, necessary in (("git", is_project), ("make", False)):
        path = shutil.which(program)
        fix = "" if path else f"run: {install_command(program)}"
        yield Finding(program, path or "not installed", fix, necessary)


def _project() -> Iterator[Finding]:
    """Report whether DVC works in the working directory, and the pinned versions."""
    here = Path.cwd()
    lacks = [] if Path(".dvc").is_dir() else [("DVC", "dvc init --force")]
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        lacks.insert(0, ("Git", "git init && git add --all"))
    found = f"not a {' or '.join(name for name, _ in lacks)} repository" if lacks else str(here)
    fix = f"run: {' && '.join(command for _, command in lacks)}" if lacks else ""
    yield Finding("project", found, fix)
    own = Path(os.environ.get("ROADSEG_VENV", ".venv"))
    if own.is_dir() and own.resolve() != Path(sys.prefix).resolve():
        windows = sys.platform == "win32"
        activate = rf"{own}\Scripts\activate" if windows else f"source {own}/bin/activate"
        yield Finding("environment", f"not {own} of this project", f"run: {activate}", False)
    if Path("requirements.txt").is_file():
        yield _pins(Path("requirements.txt"))


def _pins(requirements: Path) -> Finding:
    """Compare the installed packages with the pins in `requirements`."""
    text = requirements.read_text(encoding="utf-8", errors="replace")
    pins = re.findall(r"(?m)^([\w.-]+)==([\w.]+)", text)
    versions = [(name, pin, _version(name) or "none") for name, pin in pins]
    differing = [
        f"{name} {version} (pinned: {pin})"
        for name, pin, version in versions
        if version.split("+")[0] != pin  # 2.14.1+cpu
    ]
    found = ", ".join(differing) or f"{len(pins)} packages as in {requirements}"
    fix = f"run: pip install -r {requirements} -c constraints.txt" if differing else ""
    return Finding("pins", found, fix, False)


def _extras() -> Iterator[Finding]:
    """Report the extras of the package, except that of DVC, which `_programs` reports."""
    try:
        extras = metadata.metadata("roadseg").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return
    for extra in extras:
        if extra == "pipeline":
            continue
        unmet = _unmet_requirements(extra)
        fix = f"run: {_pip([f'roadseg[{extra}]'])}" if unmet else ""
        found = f"lacks {', '.join(unmet)}" if unmet else "installed"
        yield Finding(f"[{extra}]", found, fix, False)
