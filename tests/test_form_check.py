"""The form of a model, said beforehand: `itool data check`, `itool config show`, the card's section about serving."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from itool_cli.main import app
from itool_data.config import ModelSettings
from itool_data.publish.serving import serving_section

RUNNER = CliRunner()
NATIVE = ["--set", "model.chat_template=qwen2_5"]


def rows(path: Path, *texts: str) -> Path:
    """Rows in the OpenAI form: a call of `find` with a city; an empty text is answered in prose."""
    parameters = {"type": "object", "properties": {"city": {"type": "string", "description": "Where it is."}}}
    function = {"name": "find", "description": "Finds it.", "parameters": parameters}
    with path.open("w") as file:
        for text in texts:
            call = {
                "id": "1",
                "type": "function",
                "function": {"name": "find", "arguments": json.dumps({"city": text})},
            }
            answer: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
            if not text:
                answer = {"role": "assistant", "content": "It is late."}
            messages = [{"role": "user", "content": f"Find {text}"}, answer]
            file.write(json.dumps({"messages": messages, "tools": [{"type": "function", "function": function}]}) + "\n")
    return path


def itool(*arguments: object) -> tuple[int, str]:
    result = RUNNER.invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.parametrize(("settings", "form"), [(NATIVE, "writes calls as hermes"), ([], "shows no functions")])
def test_samples_that_train_as_they_are_meant_to(tmp_path: Path, settings: list[str], form: str) -> None:
    code, said = itool("data", "check", rows(tmp_path / "a.jsonl", "Oslo", "Rome", ""), *settings)
    assert code == 0, said
    assert form in said and "3 of 3 samples would train as they are meant to" in said
    assert ("lacks a parameter's description" in said) == (settings == [])  # our own form shows names and types
    assert "█" in said


def test_what_the_prompt_never_shows_would_train_wrongly(tmp_path: Path) -> None:
    """A template that leaves system messages out leaves out the functions of our own form."""
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    found = itool("data", "check", rows(tmp_path / "a.jsonl", "Oslo"), "--set", f"model.chat_template={template}")
    assert found[0] == 1
    assert "would train wrongly because a gold call uses what the prompt never shows: 1 samples, as " in found[1]


def test_nothing_that_is_left_is_wrong_too(tmp_path: Path) -> None:
    """What the form cannot say is set aside: here all of it, as the template's tags stand in the texts."""
    data = rows(tmp_path / "a.jsonl", "a\n</parameter>\nb")
    code, said = itool("data", "check", data, "--set", "model.chat_template=qwen3_5_nothink")
    assert code == 1
    assert "1 refused: the template" in said and "nothing is left to train on of 1 samples" in said


def test_a_run_is_looked_at_with_its_own_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert itool("data", "import", rows(tmp_path / "a.jsonl", "Oslo"), "--run", run, *NATIVE)[0] == 0
    code, said = itool("data", "check", "--run", run)
    assert code == 0 and "writes calls as hermes" in said
    assert itool("data", "check")[0] == itool("data", "check", "bfcl", "--run", run)[0] == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "own: SmolLM2-135M-Instruct: its chat template shows no functions"),
        (["model.chat_template=qwen2_5"], "native: SmolLM2-135M-Instruct: its chat template takes functions"),
        (["model.chat_template=qwen2_5", "model.format=own"], "own: model.format asks for it"),
        (["model.name=nobody/nothing"], "auto: decided by the chat template of nobody/nothing, once it is here"),
    ],
)
def test_config_show_says_which_form_and_why(settings: list[str], said: str) -> None:
    assert f"# prompts and calls: {said}" in itool("config", "show", *(f"--set={one}" for one in settings))[1]


def test_a_form_that_the_template_does_not_have_is_one_line() -> None:
    code, said = itool("config", "show", "--set", "model.format=native")
    assert code == 1
    assert "model.format is native, but SmolLM2-135M-Instruct: its chat template shows no functions" in said


def test_the_card_says_how_an_adapter_is_served() -> None:
    native = serving_section(ModelSettings(chat_template="qwen2_5"), "some/base", "me/adapter", 24)
    assert (
        "vllm serve some/base --enable-lora --max-lora-rank 32 --lora-modules adapter=me/adapter \\\n"
        "    --enable-auto-tool-choice --tool-call-parser hermes --chat-template chat_template.jinja\n"
    ) in native
    own = serving_section(ModelSettings(), "some/base", "me/adapter", 16)
    assert "--max-lora-rank 16" in own and "tool-call-parser" not in own and "You call functions." in own
    assert serving_section(ModelSettings(name="nobody/nothing"), "b", "a", 16) == ""
