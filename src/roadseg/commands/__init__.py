"""Subcommands of `roadseg`, for users."""
