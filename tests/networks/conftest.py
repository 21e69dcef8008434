from tests.training.conftest import without_histograms

__all__ = ["without_histograms"]
