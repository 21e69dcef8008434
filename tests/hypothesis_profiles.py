"""Hypothesis profiles: the same examples in each run, and no database of them.

The property-based tests are in test_*_properties.py (Claessen and Hughes 2000, QuickCheck).
"""

from hypothesis import settings

LAW = settings(derandomize=True, database=None, deadline=None, max_examples=80)
FEW = settings(LAW, max_examples=12)
"""For examples that take long because they read and write files."""
MANY = settings(LAW, max_examples=800)
"""For examples that take a millisecond, in many variants."""
