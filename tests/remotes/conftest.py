"""A repository whose pipeline has run, and a home in which no key or setting of the user's is."""

from pathlib import Path

import pytest

from tests.dvc_repository import STAGES, commit, create_repository, stages_run, succeeds


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC finds what the test tells it, not the user's agent, profiles, proxies or SSH config."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("SSH_AUTH_SOCK", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything has run once, and is committed."""
    folder = create_repository(
        tmp_path_factory.mktemp("trained"), train__epochs=1, render__epochs=["last"]
    )
    assert stages_run(succeeds(folder, "dvc", "repro")) == STAGES
    commit(folder, "results")
    return folder
