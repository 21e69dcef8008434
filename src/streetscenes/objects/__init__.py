"""Functions that draw the objects of a street scene."""
