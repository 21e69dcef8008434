"""Inspection of an unknown dataset: how its images and masks are paired, and split."""
