"""Errors, command lines, atomic files, tables, locks and memory; nothing here imports torch."""
