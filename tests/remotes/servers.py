"""Two real remotes on the loopback interface: rclone's S3 server and OpenSSH's sshd."""

import contextlib
import dataclasses
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dvc_repository import environment, succeeds

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
needs_sshd = pytest.mark.skipif(
    SSHD is None, reason="no sshd here; .ci/packages says how to install one"
)
SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Store:
    """A DVC remote and its server's files."""

    objects: Path
    """Folder of the pushed files: AB/CDEF.. for the hash ABCDEF.."""
    url: str
    settings: dict[str, str]
    """Committed to git."""
    secrets: dict[str, str]
    """Not committed."""
    wrong: dict[str, str]
    """Secrets that the server refuses."""

    def add_to(self, repository: Path) -> None:
        """Run the commands that docs/remotes.md gives for the repository."""
        succeeds(repository, "dvc", "remote", "add", "-d", "store", self.url)
        for name, value in {**self.settings, "verify": "true"}.items():
            succeeds(repository, "dvc", "remote", "modify", "store", name, value)

    def add_secrets(self, clone: Path, **secrets: str) -> None:
        """Run the commands that docs/remotes.md gives for each clone."""
        for name, value in {**self.secrets, **secrets}.items():
            succeeds(clone, "dvc", "remote", "modify", "--local", "store", name, value)


@contextlib.contextmanager
def s3_store(folder: Path) -> Iterator[Store]:
    (folder / "served/bucket").mkdir(parents=True)
    port = free_port()
    options = {
        "--addr": f"127.0.0.1:{port}",
        "--auth-key": "right,right-secret",
        "--config": str(folder / "rclone.conf"),
        "--cache-dir": str(folder / "rclone"),
        "--dir-cache-time": "100ms",  # tests change objects without the server
    }
    words = [word for option in options.items() for word in option]
    with serve(folder, port, ["rclone", "serve", "s3", str(folder / "served"), *words]):
        yield Store(
            objects=folder / "served/bucket/kitti/files/md5",
            url="s3://bucket/kitti",
            settings={"endpointurl": f"http://127.0.0.1:{port}"},
            secrets={"access_key_id": "right", "secret_access_key": "right-secret"},
            wrong={"secret_access_key": "wrong-secret"},
        )


@contextlib.contextmanager
def ssh_store(folder: Path) -> Iterator[Store]:
    for name in ("host", "user", "stranger"):
        key = ("-t", "ed25519", "-N", "", "-f", name)
        subprocess.run(["ssh-keygen", "-q", *key], cwd=folder, check=True, timeout=30)
    port = free_port()
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # required by sshd; Debian makes it at boot
    with serve(folder, port, [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]):
        yield Store(
            objects=folder / "served/files/md5",
            url=f"ssh://127.0.0.1:{port}{folder}/served",
            settings={},
            secrets={
                "user": pwd.getpwuid(os.getuid()).pw_name,
                "keyfile": str(folder / "user"),
            },
            wrong={"keyfile": str(folder / "stranger")},
        )


@contextlib.contextmanager
def serve(folder: Path, port: int, command: list[str]) -> Iterator[None]:
    """Run the server `command`; it accepts connections on `port`."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 30
        while not accepts_connections(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
