"""One small script for each DVC stage: parse paths, call `roadseg`, write outputs.

Stages run as `python -m stages.NAME` from the repository root. The `src` directory next to this
package is put first on `sys.path`: an experiment that DVC runs in a copy of the repository
(`dvc exp run --temp`, `--queue`) must use the code of the copy, but the installed `roadseg` is the
one of the main workspace.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("pydantic") is None:
    sys.exit(
        f"error: {sys.executable} lacks the packages of this project; activate its environment: "
        "source .venv/bin/activate"
    )

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
