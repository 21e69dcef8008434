"""Metrics from a confusion matrix, boundary F-score, calibration, and bootstrap intervals."""
