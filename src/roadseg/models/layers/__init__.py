"""Layers that networks share."""
