"""Provenance of models: import closure of the code, fingerprints, model metadata."""
