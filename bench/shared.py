"""Where the measurements find real data and a model that makes calls."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from itool_data.run import Run, open_run


def shared_data() -> Path:
    """The folder of real data sets beside the checkout (or `ITOOL_TEST_DATA`)."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("ITOOL_TEST_DATA", beside))
    if not folder.is_dir():
        sys.exit(f"no real data at {folder}; set ITOOL_TEST_DATA")
    return folder


def prepared_run(folder: Path, further: Sequence[str] = ()) -> Run:
    """A run with a warmed-up model; where there is none, one with BFCL imported is made.

    Args:
        folder: the run's.
        further: settings beside those of the laptop's config.
    """
    if any((folder / "adapters").glob("warmup-*")):  # asked of the folder: a process that has read tables cannot fork
        return open_run(folder)
    config = Path(__file__).resolve().parent.parent / "configs" / "laptop.yaml"
    # Nothing is chosen here, so nothing has to be asked.
    settings = ["-c", str(config), "--set", "validation.items=0"]
    for setting in further:
        settings += ["--set", setting]
    for command in (["data", "import", "bfcl", *settings], ["train", "warmup"]):
        code = "from itool_cli.main import main; main()"
        subprocess.run([sys.executable, "-c", code, *command, "--run", str(folder)], check=True)
    return open_run(folder)
