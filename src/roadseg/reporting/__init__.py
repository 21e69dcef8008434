"""Figures, charts, animations and the model card."""
