"""What lies in an export, for whoever finds it: counts, who drew the pairs, and what could not be given."""

from itool_data.export.material import Material
from itool_data.publish.card_text import code


def readme(material: Material, trainer: str, files: list[str]) -> str:
    """The README.md of an export.

    Args:
        material: what was exported.
        trainer: for which trainer.
        files: that were written.
    """
    settings = material.config.model
    form = f"the model's own, calls in the dialect {code(material.dialect)}" if material.native else "itool's own"
    given = ", ".join(f"{key}={value}" for key, value in settings.template_kwargs.items())
    lines = [
        f"# For {trainer}, by itool",
        "",
        f"From a run over {code(material.model)}; form: {form}. {len(material.samples):,} samples, "
        f"{len(material.pairs):,} pairs of whole responses, {len(material.steps):,} pairs of steps (those included).",
        "",
        "Settings are a start: the model, the data, the longest sequence and LoRA's size are the run's, the rest is "
        "the trainer's default. Each begins with its command.",
        "",
        *(f"- `{name}`" for name in files),
    ]
    if material.policies:
        lines += ["", "The pairs were drawn by, and are about the mistakes of:", ""]
        lines += [f"- {code(policy)}" for policy in material.policies]
        lines += ["", "Behind a `+` stands an adapter: train on from it, or from the model that it is merged into."]
    if given or "strftime_now" in material.template:
        lines += ["", f"The chat template was given {code(given)}, and {code(settings.date)} for today's date."]
    if material.notes:
        lines += ["", "Not given, or not as it was:", ""]
        lines += [f"- {count:,} {reason}" for reason, count in sorted(material.notes.items())]
    return "\n".join(lines) + "\n"
