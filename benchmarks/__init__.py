"""Benchmarks; `make bench` writes their results to RESULTS.md."""
