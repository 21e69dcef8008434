"""A prepared data set for the tests of the benchmarks."""

import pytest

from roadseg.data.prepared import PreparedDataset


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    from tests.factories import make_prepared  # imports torch

    return make_prepared(tmp_path_factory.mktemp("prepared"))
