from pathlib import Path

import pytest

from src.config import Params
from src.data.cache import Cache
from tests.training.small import made_cache, made_params


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return made_cache(tmp_path_factory.mktemp("cached"))


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return made_params(tmp_path)
