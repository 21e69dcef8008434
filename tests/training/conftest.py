from multiprocessing import get_context
from pathlib import Path

import pytest

from roadseg.config.params import Params
from roadseg.data.prepared import PreparedDataset
from roadseg.training.logger import TrainingLogger
from tests.factories import join, make_params, make_prepared


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return make_prepared(tmp_path_factory.mktemp("cached"))


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return make_params(tmp_path)


@pytest.fixture
def without_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histograms take most of the time of so small a training run."""
    monkeypatch.setattr(TrainingLogger, "log_histograms", lambda *_: None)


@pytest.fixture(scope="module")
def processes():
    """Return a process class whose processes have torch already imported."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.factories", "torch._dynamo"])
    assert join(context.Process(target=print)) == 0  # the fork server has imported torch
    return context.Process
