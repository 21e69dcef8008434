"""How the laws are tested: the same examples each time, and nothing is kept of them.

A law holds for whatever is drawn (Claessen and Hughes 2000); files of them are test_*_laws.py.
"""

import atexit
import os
import shutil
import tempfile

os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.mkdtemp(prefix="hypothesis")  # not the tree

from hypothesis import settings

atexit.register(shutil.rmtree, os.environ["HYPOTHESIS_STORAGE_DIRECTORY"], ignore_errors=True)

LAW = settings(derandomize=True, database=None, deadline=None, max_examples=80)
FEW = settings(LAW, max_examples=12)
"""Where an example takes long, for it reads and writes files."""
MANY = settings(LAW, max_examples=800)
"""Where an example takes a millisecond, and there are many kinds of them."""
