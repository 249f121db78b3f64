"""A sample in the form in which its model is deployed: what the chat template makes of messages, functions and calls.

The prompt is the template's text for the conversation with `tools=`, and the gold response is what the template writes
for the assistant's message, end of turn included: the difference of two renderings, never a string of our own. The
dialect of the calls is found by rendering a probe call, and a sample that the template cannot say (a second call where
it writes one, a quote where nothing is escaped) is refused with the reason: what is written must read back.

Left out: our own form (`prompt.py`), and reading calls (`dialects/`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from itool_data.chat_template import ChatTemplate, TemplateRefusalError
from itool_data.dialects import NATIVE, OWN, CallSyntaxError, DialectName, detect_format, parse
from itool_data.errors import ItoolError
from itool_data.form import Form
from itool_data.kinds import SystemMessage
from itool_data.prompt import INSTRUCTION, Asked, Prompter, UnsayableError, Wording
from itool_data.sample import Message, Sample, Tool, ToolCall
from itool_data.system_text import says_all

PROBE_TOOL = Tool(
    "itool_probe",
    "A probe.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "a text"},
            "days": {"type": "integer", "description": "a number"},
            "options": {"type": "object", "description": "an object", "properties": {}},
        },
        "required": ["city"],
    },
)
PROBES = (
    ToolCall("itool_probe", {"city": "Oslo", "days": 3, "options": {"a": [1, "b"]}}),
    ToolCall("itool_probe", {"city": "Rome"}),
)
_ASKED = Message("user", "Hello?")


def openai_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Functions in OpenAI's form."""
    return [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in tools
    ]


def as_chat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A sample's messages in OpenAI's form: calls that stand as text become calls, and results get their ids.

    Ids have nine letters and digits, as Mistral's templates want them.
    """
    chat: list[dict[str, Any]] = []
    open_calls: list[tuple[str, str]] = []  # id and name of calls that have no result yet
    made = 0
    for message in messages:
        entry: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "assistant" and (calls := _calls_of(message.content)):
            open_calls = [(f"call{made + i:05d}", call.name) for i, call in enumerate(calls)]
            made += len(calls)
            entry = calls_message(calls, [id_ for id_, _ in open_calls])
        elif message.role == "tool" and open_calls:
            id_, name = open_calls.pop(0)
            entry |= {"tool_call_id": id_, "name": name}
        chat.append(entry)
    return chat


def native_chat(asked: Asked, system: SystemMessage) -> list[dict[str, Any]]:
    """What a native prompt is made of, in OpenAI's form.

    Args:
        asked: a sample, or what else is asked.
        system: which system message it has.

    Raises:
        UnsayableError: its own system message asks for calls in our own form.
    """
    chat = as_chat(asked.messages)
    if system == "source":
        if any(m.role == "system" and says_all(m.content, asked.tools) for m in asked.messages):
            raise UnsayableError(
                "its system text lists the functions and asks for calls as [f(a=1)], not as this model writes them; "
                "set model.system to ours or none, or model.format to own"
            )
        return chat
    chat = [message for message in chat if message["role"] != "system"]
    return [{"role": "system", "content": INSTRUCTION}, *chat] if system == "ours" else chat


def calls_message(calls: Sequence[ToolCall], ids: Sequence[str]) -> dict[str, Any]:
    """An assistant's message that makes calls, in OpenAI's form."""
    made = [
        {"id": id_, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for id_, call in zip(ids, calls, strict=True)
    ]
    return {"role": "assistant", "content": "", "tool_calls": made}


def _calls_of(text: str) -> list[ToolCall]:
    """The calls of a message in a sample's history, where they stand in our own form; none in prose."""
    if detect_format(text) != OWN:
        return []
    try:
        return parse(text)
    except CallSyntaxError:
        return []


def gold_message(sample: Sample) -> dict[str, Any]:
    """A sample's gold response in OpenAI's form."""
    if not sample.calls:
        return {"role": "assistant", "content": sample.target}
    return calls_message(sample.calls, [f"gold{i:05d}" for i in range(len(sample.calls))])


@dataclass(frozen=True)
class Ends:
    """How a turn ends.

    Attributes:
        ids: the tokens at which the model stops.
        calls: the one that is put after calls, where the template leaves it to the next turn; None: it writes its own.
        prose: likewise after a text.
    """

    ids: frozenset[int]
    calls: int | None = None
    prose: int | None = None


class NativePrompter(Prompter):
    """Turns samples into token ids by a model's chat template, functions and calls included.

    Args:
        tokenizer: a transformers tokenizer.
        template: its chat template.
        dialect: what the template's calls look like.
        ends: how turns end.
        system: which system message the prompt has.
    """

    def __init__(
        self, tokenizer: Any, template: ChatTemplate, dialect: DialectName, ends: Ends, system: SystemMessage = "source"
    ):
        super().__init__(tokenizer, template=template, system=system)
        self._ends = ends
        self.form = Form(self.decode, dialect)

    @property
    def wording(self) -> Wording:
        """What its prompts are made by."""
        return Wording(self.template.identity, self.form.dialect, self._system, "functions by the template")

    def prompt_ids(self, asked: Asked) -> list[int]:
        """Token ids of everything before a response.

        Raises:
            UnsayableError: in the template's words.
        """
        return self.chat_ids(native_chat(asked, self._system), openai_tools(asked.tools))

    def gold_ids(self, sample: Sample) -> list[int]:
        """Token ids of a sample's gold response, end-of-turn included.

        Raises:
            UnsayableError: if the template cannot say it.
        """
        text = written(
            self.template, native_chat(sample, self._system), gold_message(sample), openai_tools(sample.tools)
        )
        ids = self._until_end(self.text_ids(text), self._ends.calls if sample.calls else self._ends.prose)
        said = self.decode(ids)
        try:
            calls = parse(said, self.form.dialect, sample.tools)
        except CallSyntaxError as error:
            raise UnsayableError(f"the template's own text does not read as {self.form.dialect}: {error}") from None
        if calls != list(sample.calls):
            raise UnsayableError(f"the template cannot say it: it reads back as {_shown(calls)}")
        return ids

    def gold_text(self, sample: Sample) -> str:
        """A sample's gold response as text, as the template writes it."""
        return self.decode(self.gold_ids(sample))

    def conversation(self, sample: Sample) -> list[dict[str, Any]]:
        """A sample's messages and gold response in OpenAI's form."""
        return [*native_chat(sample, self._system), gold_message(sample)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, markers of calls included and ends of turn left out."""
        return self.text([i for i in ids if i not in self._ends.ids])

    def _until_end(self, ids: list[int], otherwise: int | None) -> list[int]:
        end = next((n for n, token in enumerate(ids) if token in self._ends.ids), None)
        if end is not None:
            return ids[: end + 1]
        if otherwise is None:
            raise UnsayableError("the template writes no end of turn after it")
        return [*ids, otherwise]


def written(
    template: ChatTemplate, chat: list[dict[str, Any]], answer: dict[str, Any], tools: list[dict[str, Any]]
) -> str:
    """What a template writes for an answer: the difference of two renderings.

    Raises:
        UnsayableError: in the template's words, or if it changes the prompt when the answer is there.
    """
    try:
        prompt = template.render(chat, tools)
        full = template.render([*chat, answer], tools, reply=False)
    except TemplateRefusalError as error:
        raise UnsayableError(str(error)) from None
    if not full.startswith(prompt):
        same = next(i for i in range(len(prompt)) if prompt[i] != full[i : i + 1])
        raise UnsayableError(
            f"the template writes the answer after {full[same : same + 30]!r}, but asks for it with "
            f"{prompt[same : same + 30]!r}; model.template_kwargs such as {{enable_thinking: false}}, or another "
            "model.chat_template, may mend it"
        )
    return full[len(prompt) :]


def open_native(
    tokenizer: Any,
    template: ChatTemplate,
    stops: Collection[int],
    dialect: DialectName | None = None,
    system: SystemMessage = "source",
) -> NativePrompter | str:
    """The prompter of a model's own form, or why there is none.

    Args:
        tokenizer: the model's.
        template: its chat template.
        stops: the tokens at which the model stops.
        dialect: of its calls; None: whichever reads a probe call back.
        system: which system message prompts have.

    Raises:
        ItoolError: if the template contradicts the dialect that is asked for.
    """
    chat, tools = as_chat([_ASKED]), openai_tools([PROBE_TOOL])
    try:
        if PROBE_TOOL.name not in template.render(chat, tools):
            return "its chat template shows no functions"
        template, text = _probe(template, chat, tools)
    except (TemplateRefusalError, UnsayableError) as error:
        return str(error)
    fitting = [name for name in NATIVE if _reads(tokenizer, text, name, stops)]
    if dialect is not None and dialect not in fitting:
        raise ItoolError(
            f"model.dialect is {dialect}, but the chat template writes a call as {text[:120]!r}, which reads as "
            f"{' or '.join(fitting) or 'none of them'}"
        )
    if not fitting:
        return f"no dialect reads a call as its chat template writes it, {text[:120]!r}"
    ends: dict[str, int | None] = {}
    for kind, answer, following in (
        ("calls", calls_message(PROBES[:1], ["probe0001"]), _result("probe0001")),
        ("prose", {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Go on."}),
    ):
        found = _end(tokenizer, template, [chat, answer, following], tools, stops)
        if isinstance(found, str):
            return found
        ends[kind] = found
    return NativePrompter(
        tokenizer, template, dialect or fitting[0], Ends(frozenset(stops), ends["calls"], ends["prose"]), system
    )


def _probe(template: ChatTemplate, chat: list[dict[str, Any]], tools: list[dict[str, Any]]) -> tuple[ChatTemplate, str]:
    """The template with arguments as it takes them, as objects or as JSON text, and what it writes for the probe call.

    Raises:
        UnsayableError: it writes none; for the reason that it has where arguments are objects.
    """
    answer, reasons = calls_message(PROBES[:1], ["probe0001"]), []
    for attempt in (template, template.with_arguments_as_text()):
        try:
            text = written(attempt, chat, answer, tools)
        except UnsayableError as error:
            reasons.append(str(error))
            continue
        if PROBES[0].name in text:
            return attempt, text
        reasons.append("its chat template writes no call")
    raise UnsayableError(reasons[0])


def _reads(tokenizer: Any, text: str, dialect: DialectName, stops: Collection[int]) -> bool:
    """Whether a dialect reads the probe call out of what the template writes."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    end = next((n for n, token in enumerate(ids) if token in stops), len(ids))
    said = str(tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False))
    try:
        return parse(said, dialect, [PROBE_TOOL]) == list(PROBES[:1])
    except CallSyntaxError:
        return False


def _result(id_: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "name": PROBE_TOOL.name, "content": "1"}


def _end(
    tokenizer: Any, template: ChatTemplate, turns: list[Any], tools: list[dict[str, Any]], stops: Collection[int]
) -> int | str | None:
    """The token that ends an answer where the template writes none itself, or why there is none."""
    chat, answer, following = turns
    try:
        text = written(template, chat, answer, tools)
        if any(token in stops for token in tokenizer(text, add_special_tokens=False)["input_ids"]):
            return None
        so_far = template.render([*chat, answer], tools, reply=False)
        after = template.render([*chat, answer, following], tools, reply=False)
    except (TemplateRefusalError, UnsayableError) as error:
        return str(error)
    rest = tokenizer(after[len(so_far) :], add_special_tokens=False)["input_ids"] if after.startswith(so_far) else []
    if rest and rest[0] in stops:
        return int(rest[0])
    return f"its chat template writes no end of turn at which the model stops, {text[-60:]!r}"


def _shown(calls: Sequence[ToolCall]) -> str:
    names = ", ".join(call.name for call in calls) or "no call"
    return f"{len(calls)} ({names})" if calls else names
