"""One small script a DVC stage: paths in, one call of `src`, outs written."""

import os

# Noted before the slow imports: the process that started this one, if that was DVC.
STARTED_BY = os.getppid() if "DVC_STAGE" in os.environ else None
