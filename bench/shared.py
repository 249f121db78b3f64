"""Where the measurements find real data."""

import os
import sys
from pathlib import Path


def shared_data() -> Path:
    """The folder of real data sets beside the checkout (or `ITOOL_TEST_DATA`)."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("ITOOL_TEST_DATA", beside))
    if not folder.is_dir():
        sys.exit(f"no real data at {folder}; set ITOOL_TEST_DATA")
    return folder
