"""A run's stages as a table of the memory that each needs.

Left out: every number of it (`itool_data.sizing`).
"""

from typing import TYPE_CHECKING

from itool_data.config import Config

if TYPE_CHECKING:
    from rich.console import Console


def show_memory(console: "Console", config: Config, prompt: int | None = None) -> bool:
    """Print what memory the stages of a run need on this machine.

    Args:
        console: where to show it.
        config: the run's settings.
        prompt: tokens of the longest prompt, if it is known.

    Returns:
        Whether all of them fit.
    """
    from dataclasses import fields

    from rich.table import Table

    from itool_data.policy.load import choose_device
    from itool_data.sizing.device import this_device
    from itool_data.sizing.need import GIB, Need
    from itool_data.sizing.stages import PROMPT, judge_shape, model_shape, stages

    device = this_device(choose_device(config.model))
    parts = [f.name for f in fields(Need)]
    title = (
        f"GiB that {config.model.name} needs of {device.name} ({device.usable / GIB:.1f} to give), prompts of "
        f"{prompt or PROMPT} tokens"
    )
    table = Table("stage", *(part.replace("_", ", ") for part in parts), "in all", "at once", "", title=title)
    found = stages(config, model_shape(config.model), device, prompt or PROMPT, judge_shape(config))
    for stage in found:
        sizes = [f"{getattr(stage.need, part) / GIB:.1f}" for part in parts]
        fits = "" if stage.fits(device) else "does not fit"
        table.add_row(stage.name, *sizes, f"{stage.need.total / GIB:.1f}", stage.does, fits)
    console.print(table)
    return all(stage.fits(device) for stage in found)
