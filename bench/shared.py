"""Where the measurements find real data: the shared test data and the official wheel's folder."""

import os
import sys
from pathlib import Path

from itool_data.assets import bfcl_data

__all__ = ["bfcl_data", "shared_data"]


def shared_data() -> Path:
    """The folder of real data sets beside the checkout (or `ITOOL_TEST_DATA`)."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("ITOOL_TEST_DATA", beside))
    if not folder.is_dir():
        sys.exit(f"no real data at {folder}; set ITOOL_TEST_DATA")
    return folder
