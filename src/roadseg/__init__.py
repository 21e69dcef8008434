"""Semantic segmentation of road scenes as a reproducible pipeline."""
