"""The small trainings of tests/training, for faults that hit a training."""

from tests.training.conftest import cache, processes, without_histograms

__all__ = ["cache", "processes", "without_histograms"]
