"""Settings of hypothesis for property-based tests: deterministic, without a database.

Properties hold for all generated inputs (Claessen and Hughes 2000, QuickCheck).
"""

import atexit
import os
import shutil
import tempfile

os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.mkdtemp(
    prefix="hypothesis"
)  # outside the repository

from hypothesis import settings

atexit.register(shutil.rmtree, os.environ["HYPOTHESIS_STORAGE_DIRECTORY"], ignore_errors=True)

LAW = settings(derandomize=True, database=None, deadline=None, max_examples=80)
FEW = settings(LAW, max_examples=12)
"""For slow examples, which read and write files."""
MANY = settings(LAW, max_examples=800)
"""For examples of about a millisecond with many kinds of input."""
