"""One of our own commands in several processes that train together, one a GPU.

Each process brings the whole command, and the first one alone writes to the run (`itool_train.processes`). Left out:
what they do together.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from itool_data.errors import ItoolError

if TYPE_CHECKING:
    from itool_data.run import Run


def processes_of(run: "Run", kind: str) -> int:
    """How many processes a training of a run takes: its `warmup` or `preference`."""
    from itool_data.policy.load import choose_device

    if getattr(run.config, kind).spread:
        return 1
    if run.config.loop.processes or choose_device(run.config.model) == "cpu":
        return run.config.loop.processes or 1
    import torch

    return torch.cuda.device_count()


def launch(words: Sequence[object], processes: int) -> None:
    """Run `itool WORDS` in several processes, to their end.

    Raises:
        ItoolError: if they fail; they have said why.
    """
    # Not `accelerate launch`: that takes the user's own default config, and a port that may be in use.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    status = subprocess.run([*command, "-m", "itool_cli.main", "--", *map(str, words)]).returncode
    if status:
        raise ItoolError(
            f"itool {' '.join(map(str, words))}: {processes} processes ended with status {status}; see above"
        )
