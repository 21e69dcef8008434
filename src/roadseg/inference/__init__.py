"""Prediction for images of any size: tiles, test-time augmentation, batches of files."""
