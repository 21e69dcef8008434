"""One small script for each DVC stage: paths in, one call of `roadseg`, outputs written.

Stages run as `python -m stages.NAME` from the repository root. The `src` directory next to this
package comes first on `sys.path`, so an experiment that DVC runs in a copy of the repository
(`dvc exp run --temp`, `--queue`) uses the code of the copy, although the installed `roadseg` is
that of the main workspace.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
