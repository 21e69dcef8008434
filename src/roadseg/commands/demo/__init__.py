"""Subcommand `roadseg demo`: a local web page to try a model."""
