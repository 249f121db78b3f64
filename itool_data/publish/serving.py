"""How an adapter is served in the form that it was trained in: the command line, and what a request holds.

Left out: serving (vLLM's own documentation).
"""

from itool_data.config import ModelSettings
from itool_data.dialects import DIALECTS, OWN, DialectName
from itool_data.policy.open import prompter_if_here
from itool_data.prompt import SYSTEM
from itool_data.publish.card_text import block, code

TEMPLATE = "chat_template.jinja"  # in the repository, where the model's own was not used


def trained_dialect(settings: ModelSettings) -> DialectName | None:
    """The dialect that a run's adapters write; None where its model is not here to be looked at."""
    prompter = prompter_if_here(settings)
    return prompter.form.dialect if prompter else None


def serve_command(settings: ModelSettings, dialect: DialectName, base: str, adapter: str, rank: int) -> str:
    """The command that serves a base model with an adapter, in the adapter's form.

    Args:
        settings: of the run.
        dialect: of the adapter's calls.
        base: the base model's name.
        adapter: the adapter's name or folder.
        rank: the adapter's; vLLM takes powers of two.
    """
    name, room = adapter.rstrip("/").rpartition("/")[2], max(16, 1 << (rank - 1).bit_length())
    command = f"vllm serve {base} --enable-lora --max-lora-rank {room} --lora-modules {name}={adapter}"
    parser = DIALECTS[dialect].parser
    if parser is None:
        return command
    template = f" --chat-template {TEMPLATE}" if settings.chat_template else ""
    return f"{command} \\\n    --enable-auto-tool-choice --tool-call-parser {parser}{template}"


def serving_section(settings: ModelSettings, base: str, adapter: str, rank: int) -> str:
    """The card's section about serving; empty where the model is not here to be looked at. Arguments as above."""
    dialect = trained_dialect(settings)
    if dialect is None:
        return ""
    command = f"## Serving\n\n```sh\n{serve_command(settings, dialect, base, adapter, rank)}\n```\n\n"
    if dialect == OWN:
        return (
            f"{command}It was trained on a prompt of itool's own, without the server's tool calling: the functions go "
            f"into the system message, one a line, after this text, and calls come as {code('[name(argument=value)]')}."
            f"\n\n{block(SYSTEM.rstrip())}"
        )
    text = (
        f"{command}It was trained on what the chat template makes of messages and {code('tools=')}, and writes calls "
        f"as the template does (itool's dialect {code(dialect)}): ask it with {code('tools=')}."
    )
    if settings.template_kwargs:
        kwargs = ", ".join(f"{key}={value}" for key, value in settings.template_kwargs.items())
        text += f" The template was given {code(kwargs)}, which a request has in {code('chat_template_kwargs')}."
    return text
