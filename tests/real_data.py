"""Where the public data sets lie that tests marked real_data read; they are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("TPT_DATA", "TPT_DATA is not set"))
