"""Tests and measurements on a CUDA GPU; each module with a function `lines` is a part."""

import sys
from pathlib import Path

# The package roadseg need not be installed on a machine that is only lent for minutes.
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "src"))
