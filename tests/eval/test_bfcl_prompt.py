"""BFCL's prompt contract: the pinned text, the language sentence, the folding of types, Python's repr."""

import json
from pathlib import Path

import pytest

from itool_data.errors import ItoolError
from itool_eval.bfcl.categories import Language, Version
from itool_eval.bfcl.items import load_items
from itool_eval.bfcl.prompt import PromptContract, document


def messages(folder: Path, category: str, number: int, language: Language = Language.PYTHON) -> list[dict[str, str]]:
    item = load_items(folder, Version.V3, category)[number]
    return PromptContract(folder, Version.V3).first_messages(item.turns[0], item.functions, language)


def test_the_text_is_the_pinned_one(bfcl_folder: Path) -> None:
    assert len(PromptContract(bfcl_folder, Version.V3).system([])) == 1048


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("content", ["DEFAULT_SYSTEM_PROMPT = 'other {functions}'", "x = 1", "DEFAULT = f("])
def test_another_text_is_refused_and_nothing_of_it_runs(tmp_path: Path, content: str, version: Version) -> None:
    constants = tmp_path / "constants"
    constants.mkdir()
    (constants / "default_prompts.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{content}\n", "utf-8")
    with pytest.raises(ItoolError, match="fetch the wheel again"):
        PromptContract(tmp_path / "data", version)
    assert not (tmp_path / "ran").exists()


def test_a_python_item(bfcl_folder: Path) -> None:
    system, user = messages(bfcl_folder, "simple", 0)
    assert system["role"] == "system" and user["role"] == "user"
    assert "[{'name': 'calculate_triangle_area', 'description': 'Calculate the area of a triangle" in system["content"]
    assert "given its base and height. Note that the provided function is in Python 3 syntax.'" in system["content"]
    assert "'required': ['base', 'height']}}]" in system["content"]


def test_v4_is_put_together_from_templates_and_shows_json(bfcl_v4_folder: Path) -> None:
    contract = PromptContract(bfcl_v4_folder, Version.V4)
    assert len(contract.system([])) == 1049
    item = load_items(bfcl_v4_folder, Version.V4, "simple_python")[0]
    system, user = contract.first_messages(item.turns[0], item.functions, Language.PYTHON)
    assert "composing functions.You are given" in system["content"] and user == item.turns[0][0]
    shown = system["content"].split("in json format that you can invoke.\n")[1]
    (function,) = json.loads(shown)
    assert function["description"].endswith("Note that the provided function is in Python 3 syntax.")
    assert shown == json.dumps([function], indent=4) + "\n"


def test_an_items_own_system_message_follows_in_the_same_one(bfcl_folder: Path) -> None:
    items = load_items(bfcl_folder, Version.V3, "live_simple")
    own = next(item for item in items if item.turns[0][0]["role"] == "system")
    found = PromptContract(bfcl_folder, Version.V3).first_messages(own.turns[0], own.functions, Language.PYTHON)
    assert [m["role"] for m in found].count("system") == 1
    assert found[0]["content"].endswith("\n\n" + own.turns[0][0]["content"])
    assert own.turns[0][0]["role"] == "system", "the item itself stays as it was"


def function(**properties: dict[str, object]) -> dict[str, object]:
    return {"name": "f", "description": "Does.", "parameters": {"type": "dict", "properties": properties}}


def test_java_types_become_text() -> None:
    before = function(
        a={"type": "any", "description": "A."},
        b={"type": "ArrayList", "description": "B.", "items": {"type": "long"}},
        c={"type": "HashMap", "description": "C."},
    )
    shown = document(before, Language.JAVA)
    assert shown["description"] == "Does. Note that the provided function is in Java 8 SDK syntax."
    assert shown["parameters"]["properties"] == {
        "a": {
            "type": "string",
            "description": "A. This parameter can be of any type of Java object in string representation.",
        },
        "b": {
            "type": "string",
            "description": "B. This is Java ArrayList type parameter in string representation. The list elements are "
            "of type long; they are not in string representation.",
        },
        "c": {"type": "string", "description": "C. This is Java HashMap type parameter in string representation."},
    }
    assert before["parameters"]["properties"]["b"]["items"] == {"type": "long"}, "scoring needs the types"


def test_javascript_entries_become_text() -> None:
    before = function(
        a={"type": "dict", "description": "A.", "properties": {"x": {"type": "integer"}}},
        b={"type": "dict", "description": "B."},
    )
    shown = document(before, Language.JAVASCRIPT)["parameters"]["properties"]
    assert shown["a"]["description"] == (
        "A. This is JavaScript dict type parameter in string representation. The dictionary entries have the following "
        'schema; they are not in string representation. {"x": {"type": "integer"}}'
    )
    assert "properties" not in shown["a"]
    assert shown["b"]["description"] == "B. This is JavaScript dict type parameter in string representation."
