"""The official BFCL v4 code, asked: verdicts, prompts and tables to compare ours with.

Stands alone, for it runs in an environment of its own, never in the project's: the wheel pins an old numpy, and its
decoder runs arithmetic of outputs with `eval`, so give it nothing that does harm.

    python3.11 -m venv official && official/bin/pip install --no-deps bfcl-eval==2026.3.23
    official/bin/pip install tree_sitter==0.21.3 tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4 \
        tenacity overrides python-dotenv tqdm filelock mpmath requests numpy==1.26.4 pandas rank_bm25==0.2.2
    official/bin/python bench/bfcl_official.py score|prompts IN.jsonl OUT.jsonl
    official/bin/python bench/bfcl_official.py tables RESULT_FOLDER OUT.json

`score`: lines {"id", "category", "result", "native"}; adds `official_valid` and `official_error_type`, valid being null
where the official code raises. `prompts`: lines {"id", "category", "native", "replies"}, conversations with scripted
replies (a text, or [[name, arguments]] natively) in the given order; adds `result` and `prompts`, a digest of all that
was asked. `tables`: what the official runner prints for a folder of result files. Vendors' SDKs, which only inference
needs, are replaced by hollow modules; nothing else is.
"""

import contextlib
import copy
import csv
import hashlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import sys
import tempfile
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PROMPTED, NATIVE = "openbmb/MiniCPM3-4B", "openbmb/MiniCPM-SALA-FC"  # entries of the official registry
_SDKS = {
    "openai", "anthropic", "mistralai", "cohere", "google", "vertexai", "boto3", "botocore", "writerai", "qwen_agent",
    "httpx", "datamodel_code_generator", "huggingface_hub", "transformers", "serpapi", "html2text", "bs4",
    "sentence_transformers", "faiss", "wandb",
}  # fmt: skip


class _Hollow(types.ModuleType):
    """A module that has every name: classes that take anything, and functions that do nothing."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        bases = (Exception,) if name.endswith(("Error", "Exception")) else ()
        made: Any = _Hollow(f"{self.__name__}.{name}")
        if name[0].isupper():
            made = type(name, bases, {"__init__": lambda self, *args, **kwargs: None})
        setattr(self, name, made)
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _Hollow(self.__name__)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        known = name.partition(".")[0] in _SDKS
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Hollow(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


os.environ["BFCL_PROJECT_ROOT"] = tempfile.mkdtemp(prefix="bfcl_official_")
sys.meta_path.insert(0, _Finder())

from bfcl_eval import utils  # type: ignore[import-not-found]  # noqa: E402
from bfcl_eval.constants import enums, eval_config  # type: ignore[import-not-found]  # noqa: E402
from bfcl_eval.eval_checker import eval_runner as runner  # type: ignore[import-not-found]  # noqa: E402
from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils  # type: ignore[import-not-found]  # noqa: E402
from bfcl_eval.eval_checker.multi_turn_eval.func_source_code import (  # type: ignore[import-not-found]  # noqa: E402
    long_context,
)
from bfcl_eval.model_handler.utils import parse_prompt_variation_params  # type: ignore[import-not-found] # noqa: E402

# Every entry and every file is loaded once: the official loaders read whole categories at each call.
_ENTRIES: dict[str, dict[str, Any]] = {}
_LANGUAGES = {"simple_java": "JAVA", "simple_javascript": "JAVASCRIPT"}


def entries(category: str) -> dict[str, Any]:
    """A category's entries with their answers, by id."""
    if category not in _ENTRIES:
        options = {"include_prereq": False, "include_language_specific_hint": False}
        prompts = utils.load_dataset_entry(category, **options)
        answers = [None] * len(prompts) if "relevance" in category else utils.load_ground_truth_entry(category)
        assert len(prompts) == len(answers)
        _ENTRIES[category] = {p["id"]: (p, a and a["ground_truth"]) for p, a in zip(prompts, answers, strict=True)}
    return _ENTRIES[category]


def score(row: dict[str, Any], handler: Any) -> Any:
    """The official verdict on one result."""
    category, result = row["category"], copy.deepcopy(row["result"])
    name = NATIVE if row.get("native") else PROMPTED
    prompt, answer = copy.deepcopy(entries(category)[row["id"]])
    if utils.is_multi_turn(category):
        return runner._evaluate_single_multi_turn_entry(handler, row["id"], result, answer, prompt, name, category)
    if utils.is_agentic(category):
        return runner._evaluate_single_agentic_entry(handler, row["id"], result, answer, prompt, name, category)
    if utils.is_relevance_or_irrelevance(category):
        return runner._evaluate_single_relevance_entry(handler, row["id"], result, prompt, name, category)
    language, tag = _LANGUAGES.get(category, "PYTHON"), False
    form = enums.ReturnFormat[language]
    if utils.is_format_sensitivity(category):
        written, tag, *_ = parse_prompt_variation_params(row["id"].split(":")[1])
        form = enums.ReturnFormat(written)
    args = (handler, row["id"], result, answer, prompt, name, category, enums.Language[language], form, tag)
    return runner._evaluate_single_ast_entry(*args)


def scored(row: dict[str, Any], handler: Any) -> dict[str, Any]:
    """A line with the official verdict."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            verdict = score(row, handler)
    except Exception as error:  # noqa: BLE001 - the official runner would end here
        return row | {"official_valid": None, "official_error_type": f"{type(error).__name__}: {error}"[:200]}
    finally:
        forget_instances()
    found = verdict.get("error_type") or (verdict.get("error") or {}).get("error_type") if "error" in verdict else None
    return row | {"official_valid": verdict["valid"], "official_error_type": found}


def forget_instances() -> None:
    """An id that is scored twice begins anew, and so does what the instances of long contexts share."""
    space = vars(multi_turn_utils)
    for key in [key for key in space if key.endswith("_instance")]:
        del space[key]
    for name, first in _LONG_CONTEXT.items():
        shared = getattr(long_context, name)
        shared.clear()
        shared.update(copy.deepcopy(first))


_LONG_CONTEXT = copy.deepcopy({k: v for k, v in vars(long_context).items() if type(v) is dict and k.isupper()})


class Scripted:
    """A handler's query that gives the replies of a script and remembers what was asked."""

    def __init__(self, replies: list[Any], native: bool):
        self.replies, self.native = list(replies), native
        self.asked: list[Any] = []

    def __call__(self, inference_data: dict[str, Any]) -> tuple[Any, float]:
        messages = [m if isinstance(m, dict) else m.shown for m in inference_data["message"]]
        self.asked.append(copy.deepcopy([messages, inference_data.get("tools", [])]))
        reply = self.replies.pop(0) if self.replies else "Done."
        usage = SimpleNamespace(prompt_tokens=1, completion_tokens=1)
        if not self.native:
            return SimpleNamespace(choices=[SimpleNamespace(text=reply)], usage=usage), 0.0
        message = SimpleNamespace(role="assistant", content="" if isinstance(reply, list) else reply, tool_calls=None)
        message.shown = {"role": "assistant", "content": message.content}
        if isinstance(reply, list):
            functions = [SimpleNamespace(name=name, arguments=arguments) for name, arguments in reply]
            ids = [f"c{len(messages):05d}{i:03d}" for i in range(len(reply))]
            message.tool_calls = [SimpleNamespace(id=i, function=f) for i, f in zip(ids, functions, strict=True)]
            message.shown["tool_calls"] = [
                {"id": i, "type": "function", "function": vars(f)} for i, f in zip(ids, functions, strict=True)
            ]
        return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=usage), 0.0


def converse(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the official harness asks in a conversation with scripted replies."""
    native, category = bool(row.get("native")), row["category"]
    handler = runner.get_handler(NATIVE if native else PROMPTED)
    key = f"asked {category}"
    if key not in _ENTRIES:
        _ENTRIES[key] = {entry["id"]: entry for entry in utils.load_dataset_entry(category)}
    entry = copy.deepcopy(_ENTRIES[key][row["id"]])
    (entry,) = utils.populate_initial_settings_for_memory_test_cases([entry], folder / str(native))
    script = Scripted(row["replies"], native)
    setattr(handler, "_query_FC" if native else "_query_prompting", script)
    with contextlib.redirect_stdout(io.StringIO()):
        result, _ = handler.inference(entry, False, True)
    forget_instances()
    digest = hashlib.sha256(json.dumps(script.asked, sort_keys=True).encode()).hexdigest()
    asked = {"asked": script.asked} if row.get("verbose") else {}
    return row | {"result": result, "prompts": digest} | asked


def tables(results: Path) -> dict[str, Any]:
    """The official tables' row and the format sensitivity's header of one model's folder of results."""
    model = results / PROMPTED.replace("/", "_")
    assert model.is_dir(), f"{results}: the results go into a folder {model.name}"
    scores = Path(tempfile.mkdtemp())
    with contextlib.redirect_stdout(io.StringIO()):
        runner.runner([model.name], utils.ALL_CATEGORIES, results, scores, allow_missing=True)
    found: dict[str, Any] = {}
    for file in sorted(scores.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as lines:
            found[file.stem] = next(csv.DictReader(lines))
    for file in scores.rglob("*_format_sensitivity_score.json"):
        found["format_sensitivity"] = json.loads(file.read_text("utf-8").splitlines()[0])
    return found


def main() -> None:
    what, given, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    assert utils.VERSION_PREFIX == "BFCL_v4" and eval_config.PROMPT_PATH.is_dir()
    if what == "tables":
        out.write_text(json.dumps(tables(given)), encoding="utf-8")
        return
    handlers = {native: runner.get_handler(NATIVE if native else PROMPTED) for native in (False, True)}
    folder = Path(tempfile.mkdtemp())
    with given.open(encoding="utf-8") as lines, out.open("w", encoding="utf-8") as written:
        for row in map(json.loads, lines):
            row = scored(row, handlers[bool(row.get("native"))]) if what == "score" else converse(row, folder)
            written.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
