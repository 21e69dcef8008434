from multiprocessing import get_context
from pathlib import Path

import pytest

from roadseg.config.params import Params
from roadseg.data.prepared import PreparedDataset
from roadseg.training.logger import TrainingLogger
from tests.training.factories import ended, made_cache, made_params


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return made_cache(tmp_path_factory.mktemp("cached"))


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return made_params(tmp_path)


@pytest.fixture
def without_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of so small a training."""
    monkeypatch.setattr(TrainingLogger, "log_histograms", lambda *_: None)


@pytest.fixture(scope="module")
def processes():
    """Starts processes in which torch is imported already."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.training.factories"])
    assert ended(context.Process(target=print)) == 0  # the imports are done
    return context.Process
