"""Objects that stand in a street scene."""
