"""An OpenAI-compatible server over HTTP: many requests at once, failed ones again, behind a synchronous `step`.

The requests run in one event loop in a thread of its own, so that they go on while the caller works, and can be dropped
at any time. What may pass is tried again: 429 and 5xx (after the time that Retry-After names), timeouts, broken
connections, answers that are cut off or hold not what was asked for. What the server takes exception to is not.

httpx2, which huggingface_hub brings along, and not the package `openai`: that retries and honours Retry-After too, but
gives up within seconds, does not see a cut-off body as a failure, and knows neither token ids nor adapters, which are
vLLM's own fields. Left out: streaming, and what the requests hold (`openai.py`, `itool_eval.server_chat`).
"""

import asyncio
import math
import os
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NamedTuple

import httpx2

from itool_data.config import ModelSettings
from itool_data.errors import ItoolError

KEY = "OPENAI_API_KEY"
ROWS = 64  # requests at once
STEP_SECONDS = 1.0  # a step returns after so long, finished requests or not
CONNECT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a request is tried again; doubled each time
OPENING_PATIENCE = 10.0  # a server that is not there when a command starts is soon given up
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_TOO_LONG = re.compile(r"context.?(length|size|window)|max_model_len|too long|too many tokens", re.IGNORECASE)
_SHOWN = 300  # characters of what a server says

Read = Callable[[Any], Any]


class Ask(NamedTuple):
    """A request: path below the base URL, JSON body (None: GET), and what makes of the answer's JSON what is wanted.

    `read` may fail with any of the errors that come of looking into JSON; the request is then tried again.
    """

    path: str
    body: dict[str, Any] | None
    read: Read


@dataclass(frozen=True)
class Refused:
    """A request that the server does not take and would not take again."""

    status: int
    reason: str
    too_long: bool  # for the model's context


class _Passing(Exception):  # noqa: N818 - it is no error yet
    """A failure that may pass; `after`: the seconds that the server asks to wait."""

    def __init__(self, what: str, after: float | None = None):
        super().__init__(what)
        self.what = what
        self.after = after


class Server:
    """Speaks to one server; the key for it comes from the environment and goes nowhere else.

    Args:
        settings: `base_url`, `rows`, `timeout` and `patience` of them.

    Raises:
        ItoolError: no URL, or a key that no header can carry.
    """

    def __init__(self, settings: ModelSettings):
        if not settings.base_url:
            raise ItoolError("model.policy is openai, but there is no server: give --base-url http://HOST:PORT/v1")
        self.base_url = settings.base_url
        self.rows = settings.rows or ROWS
        self.adapter: tuple[str, str] | None = None  # name and path, loaded again where a restart has lost it
        self._timeout = settings.timeout
        self._patience = settings.patience
        self._key = _key()
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(settings.timeout, connect=CONNECT_SECONDS, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self.rows),
        )
        self._gate = asyncio.Semaphore(self.rows)
        self._under_way: dict[str, Future[Any]] = {}
        self._ended: queue.SimpleQueue[tuple[str, Future[Any]]] = queue.SimpleQueue()

    @property
    def host(self) -> str:
        """Host and port, as rows name the server."""
        return self.base_url.partition("//")[2].partition("/")[0]

    def submit(self, key: str, ask: Ask) -> None:
        """Send a request; `step` returns its answer with its key."""
        future = self._under_way[key] = self._start(ask, self._patience)
        future.add_done_callback(lambda ended: self._ended.put((key, ended)))

    def step(self) -> list[tuple[str, Any]]:
        """Wait for answers, not for long; return those that came, each what its `read` made of it or `Refused`.

        Raises:
            ItoolError: a request failed for longer than the patience lasts; every answer before was returned.
        """
        wait = STEP_SECONDS
        answers: list[tuple[str, Any]] = []
        while True:
            try:
                key, future = self._ended.get(timeout=wait)
            except queue.Empty:
                return answers
            if self._under_way.get(key) is not future:  # dropped by `reset`
                continue
            if answers and future.exception():
                self._ended.put((key, future))
                return answers
            answers.append((key, future.result()))
            del self._under_way[key]
            wait = 0.0

    def reset(self) -> None:
        """Drop every request under way."""
        for future in self._under_way.values():
            future.cancel()
        self._under_way.clear()

    def ask(self, asks: Sequence[Ask], patience: float = math.inf) -> list[Any]:
        """Send requests and wait for the answers to all of them, each what its `read` made of it or `Refused`.

        Args:
            asks: the requests.
            patience: seconds that failed ones are tried again, if that is less than the settings allow.

        Raises:
            ItoolError: a request failed for longer.
        """
        futures = [self._start(ask, min(patience, self._patience)) for ask in asks]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def load_adapter(self) -> Refused | None:
        """Have the server load the adapter under its name (vLLM, where it allows that); returns why it does not."""
        assert self.adapter
        name, path = self.adapter
        (answer,) = self.ask([Ask("/load_lora_adapter", {"lora_name": name, "lora_path": path}, _nothing)])
        return answer if isinstance(answer, Refused) else None

    def _start(self, ask: Ask, patience: float) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(self._answer(ask, patience), _loop())

    async def _answer(self, ask: Ask, patience: float) -> Any:
        """Send a request again and again until it is answered, refused, or the patience is at its end."""
        pause, until = FIRST_PAUSE, 0.0
        async with self._gate:
            while True:
                try:
                    return await self._once(ask)
                except _Passing as failure:
                    now = time.monotonic()
                    until = until or now + patience
                    if now >= until or now + (failure.after or 0.0) > until:
                        raise self._given_up(failure, patience) from None
                    own = min(random.uniform(pause / 2, pause), until - now)
                    wait = own if failure.after is None else failure.after
                await asyncio.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _once(self, ask: Ask) -> Any:
        url = self.base_url + ask.path
        try:
            if ask.body is None:
                response = await self._client.get(url)
            else:
                response = await self._client.post(url, json=ask.body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise _Passing("cannot be reached") from None
        except httpx2.TimeoutException:
            raise _Passing(f"does not answer within {self._timeout:g} s (model.timeout)") from None
        except httpx2.RequestError:
            raise _Passing("breaks connections off") from None
        status = response.status_code
        if status in _AGAIN:
            raise _Passing(f"answers HTTP {status}{self._told(response)}", _retry_after(response.headers))
        if status in (401, 403):
            known = f"the key in {KEY}" if self._key else f"requests without a key; set {KEY} in the environment"
            raise ItoolError(f"{self.base_url}: answers HTTP {status}: it does not accept {known}")
        if not response.is_success:
            told = self._told(response)
            # A long text's end may be where the reason is.
            refused = Refused(status, f"HTTP {status}{told}", bool(_TOO_LONG.search(response.text)))
            return await self._refused(ask, refused)
        try:
            return ask.read(None if ask.read is _nothing else response.json())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _Passing(f"gives answers that cannot be used ({type(error).__name__}: {error})") from None

    async def _refused(self, ask: Ask, refused: Refused) -> Refused:
        """A refusal; one that comes because the server has lost the adapter loads it and is no refusal."""
        if refused.status != 404 or not self.adapter or ask.body is None or ask.body.get("model") != self.adapter[0]:
            return refused
        name, path = self.adapter
        again = await self._once(Ask("/load_lora_adapter", {"lora_name": name, "lora_path": path}, _nothing))
        # 400: another request had it loaded in the meantime.
        if isinstance(again, Refused) and again.status != 400:
            raise ItoolError(f"{self.base_url}: has lost the adapter {name} and does not load it: {again.reason}")
        raise _Passing(f"has lost the adapter {name}")

    def _told(self, response: httpx2.Response) -> str:
        """What a server says about an error, on one line, without the key that it may repeat."""
        try:
            body = response.json()
            error = body.get("error", body)
            text = error if isinstance(error, str) else error.get("message") or error.get("detail") or ""
        except (ValueError, AttributeError):
            text = response.text
        text = " ".join(str(text).split())
        if self._key:
            text = text.replace(self._key, "…")
        printable = "".join(c for c in text[:_SHOWN] if c.isprintable())
        return f": {printable}" if printable else ""

    def _given_up(self, failure: _Passing, patience: float) -> ItoolError:
        if failure.after is not None and failure.after > patience:
            waited = f"and asks to wait {failure.after:.0f} s (Retry-After), more than model.patience allows"
        else:
            waited = f"and did so for {patience:g} s (model.patience)"
        return ItoolError(
            f"{self.base_url}: {failure.what}, {waited}; see to the server, then the same command goes on "
            "from what was committed"
        )


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process for all servers, in a thread that ends with it."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="itool servers", daemon=True).start()
    return loop


def _nothing(_: Any) -> None:
    """Reads an answer of which nothing is wanted, JSON or not."""


def _key() -> str:
    """The key, "" for none; a bad one is refused here because HTTP libraries repeat it in their errors."""
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ItoolError(f"{KEY}: holds characters that no HTTP header can carry; copy the key again")
    return key


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that a server asks to wait, from a number of seconds or a date; None: it does not say."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
