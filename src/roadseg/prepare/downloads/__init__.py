"""Resumable downloads over HTTP(S), and a store of the files."""
