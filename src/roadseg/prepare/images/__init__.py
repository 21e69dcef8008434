"""Decode, convert and resize images and masks."""
