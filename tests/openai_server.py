"""A real HTTP server on loopback that speaks what vLLM does of OpenAI's protocol, with answers from a table.

Completions come from a scripted policy, chat replies from a function of the request; equal requests get equal answers.
`serve_toy` serves the samples of `bench.toy_loop.write_source`; in a process of its own, which a
test can kill and start again.
"""

import json
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from itool_data.config_file import load_config
from itool_data.errors import ItoolError
from itool_data.policy.base import Request, generate
from itool_data.policy.load import find_model, load_tokenizer
from itool_data.policy.open import open_prompter
from itool_data.policy.openai import PROBE
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.sample import Sample
from itool_data.sources import load

Ids = tuple[int, ...]
LOWEST = -9999.0  # JSON has no infinity
# A text, or native calls as (name, arguments as JSON text), or the whole answer.
Said = str | list[tuple[str, str]] | dict[str, Any]


class RefusedError(Exception):
    """Answers an error status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Table(ScriptedPolicy):
    """Says nothing more (the token `end`) to what is not in its table, where a script would be wrong."""

    end = 0

    def _next(self, said: Ids) -> dict[int, float]:
        try:
            return super()._next(said)
        except ItoolError:
            return {self.end: 1.0}

    def _ended(self, said: Ids) -> bool:
        return said[-1] == self.end or super()._ended(said)


class OpenAIServer:
    """The server; `start` it, read `url` and what it was asked.

    Attributes:
        name: of the base model.
        root: where it is from.
        adapters: those it serves, name -> folder; a test may put some there.
        loads: whether adapters are loaded by request.
        token_ids: whether completions hold any, as vLLM's do.
        raw_logprobs: whether log-probabilities are those before the temperature.
        context: most tokens of prompt and reply; a chat's tokens are characters.
        headers: of every request.
        bodies: of every POST request, with its path.
    """

    def __init__(self, table: Mapping[Ids, Mapping[Ids, float]], tokenise: Callable[[str], list[int]], root: str = ""):
        self.name, self.root = "toy-model", root
        self.adapters: dict[str, str] = {}
        self.loads = self.token_ids = self.raw_logprobs = True
        self.context = 512
        self.delay = 0.0
        self.chat: Callable[[dict[str, Any]], Said] = lambda body: "I cannot."
        self.headers: list[dict[str, str]] = []
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self._policy = Table(table)
        self._tokenise = tokenise
        self._lock = threading.Lock()

    def start(self, port: int = 0) -> "OpenAIServer":
        """Serve in a thread."""
        self._http = serve(self._answer, port)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, path: str, headers: dict[str, str], data: bytes) -> tuple[int, dict[str, str], bytes]:
        time.sleep(self.delay)
        with self._lock:
            self.headers.append(headers)
            body = json.loads(data) if data else {}
            if data:
                self.bodies.append((path, body))
            try:
                return 200, {}, json.dumps(self._route(path, body)).encode()
            except RefusedError as refused:
                told = {"error": {"message": str(refused), "type": "BadRequestError", "code": refused.status}}
                return refused.status, {}, json.dumps(told).encode()
            except Exception:  # noqa: BLE001 - a test sees it in the error that the client reports
                return 418, {}, json.dumps({"error": traceback.format_exc()[-250:]}).encode()

    def _route(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/models":
            base = {"id": self.name, "root": self.root, "parent": None, "max_model_len": self.context}
            adapters = [{"id": n, "root": r, "parent": self.name} for n, r in self.adapters.items()]
            return {"data": [base, *adapters]}
        if path == "/v1/load_lora_adapter" and self.loads:
            if not Path(body["lora_path"]).is_dir():
                raise RefusedError(404, f"No adapter found for {body['lora_name']}")
            if body["lora_name"] in self.adapters:
                raise RefusedError(400, "has already been loaded")
            self.adapters[body["lora_name"]] = body["lora_path"]
            return "Success"
        if path not in ("/v1/completions", "/v1/chat/completions"):
            raise RefusedError(404, "Not Found")
        if body["model"] not in (self.name, *self.adapters):
            raise RefusedError(404, f"The model `{body['model']}` does not exist.")
        return self._completion(body) if path == "/v1/completions" else self._chat(body)

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = self._tokenise(body["prompt"]) if isinstance(body["prompt"], str) else body["prompt"]
        self._fits(len(prompt), body["max_tokens"])
        # From the most probable token alone, which is what a temperature of 0 is.
        temperature = 0.0 if body["top_k"] == 1 else body["temperature"]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 0}
        if "prompt_logprobs" in body:
            (scores,) = self._policy.score([prompt[:1]], [prompt[1:]])
            pairs = zip(prompt[1:], scores, strict=True)
            logprobs = [None, *({str(token): {"logprob": max(lp, LOWEST)}} for token, lp in pairs)]
            return {"choices": [{"prompt_logprobs": logprobs, "finish_reason": "length"}], "usage": usage}
        request = Request("r", prompt, [body.get("seed", 0)], body["max_tokens"], temperature)
        (completion,) = generate(self._policy, [request])
        (draw,) = completion.draws
        choice: dict[str, Any] = {"text": "", "finish_reason": draw.finish}
        choice["logprobs"] = {"token_logprobs": draw.logprobs if self.raw_logprobs else [0.0 for _ in draw.ids]}
        if options := body.get("logprob_token_ids"):
            scores = [lp for (lp,) in self._policy.score([prompt] * len(options), [[token] for token in options])]
            named = zip(options, scores, strict=True)
            choice["logprobs"]["top_logprobs"] = [{f"token_id:{token}": max(lp, LOWEST) for token, lp in named}]
        if self.token_ids:
            choice |= {"token_ids": draw.ids, "prompt_token_ids": prompt}
        return {"choices": [choice], "usage": usage | {"completion_tokens": len(draw.ids)}}

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        length = sum(len(str(message["content"])) for message in body["messages"])
        self._fits(length, body.get("max_tokens", 1))
        said = self.chat(body)
        if isinstance(said, dict):
            return said
        message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
        if not isinstance(said, str):
            message["tool_calls"] = [
                {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for i, (name, arguments) in enumerate(said)
            ]
        finish = "stop" if isinstance(said, str) else "tool_calls"
        usage = {"prompt_tokens": length, "completion_tokens": len(str(said))}
        return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}

    def _fits(self, prompt: int, reply: int) -> None:
        if prompt + reply > self.context:
            raise RefusedError(400, f"This model's maximum context length is {self.context} tokens.")


def serve(
    answer: Callable[[str, dict[str, str], bytes], tuple[int, dict[str, str], bytes] | None], port: int = 0
) -> ThreadingHTTPServer:
    """Serve a function of path, headers and body in threads; where it gives None the connection ends without a word."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length", 0)))
            answered = answer(self.path, {k.lower(): v for k, v in self.headers.items()}, data)
            self.close_connection = answered is None
            if answered is None:
                return
            status, headers, body = answered
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            # A body shorter than announced is one that breaks off.
            self.close_connection = int(headers.get("Content-Length", len(body))) != len(body)

        do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients that are killed break connections off."""

    http = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return http


def toy_server(config: Path, more: Mapping[str, float] | None = None) -> OpenAIServer:
    """A server of the model of `bench.toy_loop.write_config`: half of its answers to the toy samples are right.

    Args:
        config: what `write_config` wrote.
        more: answers to the probe's text, and their weights.
    """
    settings = load_config(config, [])
    base = find_model(settings.model)
    prompter, tokenizer = open_prompter(settings.model, base), load_tokenizer(base)

    def tokenise(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    table: dict[Ids, dict[Ids, float]] = defaultdict(dict)

    def add(prompt: list[int], text: str, weight: float) -> None:
        # From its first token on, so that prompts have log-probabilities too.
        table[tuple(prompt[:1])][(*prompt[1:], *prompter.response_ids(text))] = weight

    Table.end = tokenizer.eos_token_id
    for text, weight in ({"yes": 1.0, "no": 1.0, "so": 1.0} | dict(more or {})).items():
        add(tokenise(PROBE), text, weight)
    for sample in load(settings.loop.sources[0]):
        assert isinstance(sample, Sample)
        right = sample.calls[0].arguments["a"]
        answers = {f"[f(a={right})]": 5.0, f"[f(a={right + 1})]": 2, f"[g(a={right})]": 1, f"[f(b={right})]": 1}
        for text, weight in answers.items():
            add(prompter.prompt_ids(sample), text, weight)
    return OpenAIServer(table, tokenise, str(base.path))


def serve_toy(config: Path, port: int, delay: float) -> None:
    """Serve the samples of `bench.toy_loop.write_source`, for a process of its own, which first says where."""
    server = toy_server(config)
    server.delay = delay
    server.start(port)
    print(server.url, flush=True)
    threading.Event().wait()
