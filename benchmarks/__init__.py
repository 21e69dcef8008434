"""How fast it is, measured against what; `make bench` writes RESULTS.md."""
