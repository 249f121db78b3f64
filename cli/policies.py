"""Which adapter `--adapter` means: a folder, the base model, or one of the run's own by the end of its name.

Left out: loading it (`itool_data/policy/load.py`).
"""

from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.policy.load import Adapter, BaseModel, find_adapter
from itool_data.run import Run

BASE = "base"


def choose_adapter(run: Run, base: BaseModel, wanted: str | None) -> Adapter | None:
    """Find the adapter that a policy's name stands for; None is the base model itself.

    Args:
        run: the run whose adapters count.
        base: the base model that the adapter must belong to.
        wanted: a folder, `base`, or the end of the name of an adapter of the run; None means the run's newest one.

    Raises:
        ItoolError: there is no such adapter or there are several, or it belongs to another base model.
    """
    if wanted is None:
        return run.adapter(base)
    if wanted == BASE:
        return None
    if Path(wanted).is_dir():
        return find_adapter(Path(wanted), base)
    own = list(dict.fromkeys(c.info["adapter"] for c in run.store.log() if "adapter" in c.info))
    found = [folder for folder in own if folder.endswith(wanted)]
    if len(found) != 1:
        known = ", ".join([BASE, *(Path(folder).name for folder in found or own)])
        problem = "fits several policies" if found else "is no policy"
        raise ItoolError(f"{run.folder}: {wanted!r} {problem}; it has {known}; or give an adapter's folder")
    return find_adapter(run.folder / found[0], base)
