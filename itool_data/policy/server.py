"""An OpenAI-compatible server over HTTP: many requests at once, failed ones again, behind a synchronous `step`.

The requests run in one event loop in a thread of its own, so that they go on while the caller works, and can be dropped
at any time. What may pass is tried again: 429 and 5xx (after the time that Retry-After names), timeouts, broken
connections, answers that are cut off or hold not what was asked for. What the server takes exception to is not. A
request that waits to be sent again lets others go first.

One bad request is told from a server that is down by a witness: the request that was answered last, or, before there is
one, a request that the caller names. When a request is refused, or has failed for as long as the patience lasts, the
witness is sent again. If it is not answered either, the server is down (or takes no requests like these), and the run
ends with nothing set aside. If it is, the server works: a request that failed is sent once more, since the server may
have come back only now, and what is not answered then is the caller's to set aside. A prompt that is too long needs no
witness.

httpx2, which huggingface_hub brings along, and not the package `openai`: that retries and honours Retry-After too, but
gives up within seconds, does not see a cut-off body as a failure, and knows neither token ids nor adapters, which are
vLLM's own fields. Left out: streaming, what a server means by an error (`server_errors.py`), and what the requests hold
(`openai.py`, `itool_eval.server_chat`).
"""

import asyncio
import math
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NamedTuple

import httpx2

from itool_data.config import ModelSettings
from itool_data.errors import ItoolError
from itool_data.policy.server_errors import ServerError, error_in, error_of

KEY = "OPENAI_API_KEY"
ROWS = 64  # requests at once
STEP_SECONDS = 1.0  # a step returns after so long, finished requests or not
CONNECT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a request is tried again; doubled each time
OPENING_PATIENCE = 10.0  # a server that is not there when a command starts is soon given up
_SHOWN = 300  # characters of what a server says
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)

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
    """A request that a working server does not answer.

    Attributes:
        status: of its last answer, 0 if there was none.
        reason: in the server's words.
        too_long: the prompt is, or the reply that was asked for with it.
        failed: it was tried again until the patience ended; otherwise the server takes exception to it.
    """

    status: int
    reason: str
    too_long: bool = False
    failed: bool = False


class FailingError(ItoolError):
    """A request failed for as long as the patience lasts."""

    def __init__(self, message: str, refused: Refused):
        super().__init__(message)
        self.refused = refused


class _Passing(Exception):  # noqa: N818 - it is no error yet
    """A failure that may pass; `after`: the seconds that the server asks to wait."""

    def __init__(self, what: str, after: float | None = None, status: int = 0):
        super().__init__(what)
        self.what = what
        self.after = after
        self.status = status


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
        self._witness: Ask | None = None
        self._asking_witness = asyncio.Lock()
        self._worked = 0.0  # when the witness was last answered
        self._under_way: dict[str, Future[Any]] = {}
        self._ended: queue.SimpleQueue[tuple[str, Future[Any]]] = queue.SimpleQueue()

    @property
    def host(self) -> str:
        """Host and port, as rows name the server."""
        return self.base_url.partition("//")[2].partition("/")[0]

    def call_witness(self, ask: Ask) -> None:
        """Name a request that the server is likely to answer, for the time before it has answered any."""
        self._witness = ask

    def submit(self, key: str, ask: Ask) -> None:
        """Send a request; `step` returns its answer with its key."""
        future = self._under_way[key] = asyncio.run_coroutine_threadsafe(self._settle(ask), _loop())
        future.add_done_callback(lambda ended: self._ended.put((key, ended)))

    def step(self) -> list[tuple[str, Any]]:
        """Wait for answers, not for long; return those that came, each what its `read` made of it or `Refused`.

        Raises:
            ItoolError: the server is down, or refuses all requests like these; every answer before was returned.
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

    def ask(self, ask: Ask, patience: float = math.inf) -> Any:
        """Send a request on which no other depends, and wait for what its `read` makes of the answer, or `Refused`.

        Args:
            ask: the request.
            patience: seconds that it is tried again, if that is less than the settings allow.

        Raises:
            FailingError: it failed for longer.
        """
        return self._wait([self._answer(ask, min(patience, self._patience))])[0]

    def ask_all(self, asks: Sequence[Ask]) -> list[Any]:
        """Send requests and wait for the answers to all of them, as `submit` and `step` do."""
        return self._wait([self._settle(ask) for ask in asks])

    def _wait(self, answers: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        futures = [asyncio.run_coroutine_threadsafe(answer, _loop()) for answer in answers]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def load_adapter(self) -> Refused | None:
        """Have the server load the adapter under its name (vLLM, where it allows that); returns why it does not."""
        assert self.adapter
        name, path = self.adapter
        answer = self.ask(Ask("/load_lora_adapter", {"lora_name": name, "lora_path": path}, _nothing))
        return answer if isinstance(answer, Refused) else None

    async def _settle(self, ask: Ask) -> Any:
        """What comes of a request: its answer, or why a working server does not answer it.

        Raises:
            ItoolError: the server does not work.
        """
        try:
            answer = await self._answer(ask, self._patience)
        except FailingError as failure:
            if not await self._works():
                raise
            return await self._last_try(ask, failure.refused)
        if not isinstance(answer, Refused):
            self._witness = ask
        elif not answer.too_long and not await self._works():
            raise ItoolError(f"{self.base_url}: refuses requests: {answer.reason}")
        return answer

    async def _works(self) -> bool:
        """Whether the witness is answered now; asked once for all who want to know it at the same time."""
        wanted = time.monotonic()
        async with self._asking_witness:
            if self._worked < wanted and self._witness is not None:
                with suppress(FailingError):
                    answer = await self._answer(self._witness, min(OPENING_PATIENCE, self._patience))
                    if not isinstance(answer, Refused) or answer.too_long:
                        self._worked = time.monotonic()
            return self._worked >= wanted

    async def _last_try(self, ask: Ask, refused: Refused) -> Any:
        try:
            return await self._answer(ask, 0.0)
        except FailingError:
            return refused

    async def _answer(self, ask: Ask, patience: float) -> Any:
        """Send a request again and again until it is answered, refused, or the patience is at its end."""
        pause, until = FIRST_PAUSE, 0.0
        while True:
            try:
                async with self._gate:
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
        if not response.is_success:
            told, where = error_of(response.status_code, response.text), f"HTTP {response.status_code}"
        else:
            answer = None
            try:
                answer = None if ask.read is _nothing else response.json()
                return ask.read(answer)
            except _UNREADABLE as error:
                in_it = error_in(answer)
                if in_it is None:
                    what = f"gives answers that cannot be used ({type(error).__name__}: {error})"
                    raise _Passing(what, status=response.status_code) from None
                told, where = in_it, f"HTTP {response.status_code} with an error"
        reason = where + self._shown(told)
        if told.may_pass:
            raise _Passing(f"answers {reason}", _retry_after(response.headers), told.status)
        return await self._refused(ask, Refused(told.status, reason, told.too_long))

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

    def _shown(self, told: ServerError) -> str:
        """What a server says about an error, on one line, without the key that it may repeat."""
        text = " ".join(told.words.split())
        if self._key:
            text = text.replace(self._key, "…")
        text = "".join(c for c in text[:_SHOWN] if c.isprintable())
        if told.status in (401, 403):
            known = f"the key in {KEY}" if self._key else f"requests without a key; set {KEY} in the environment"
            text = f"{text} (it does not accept {known})" if text else f"it does not accept {known}"
        return f": {text}" if text else ""

    def _given_up(self, failure: _Passing, patience: float) -> FailingError:
        if failure.after is not None and failure.after > patience:
            waited = f"and asks to wait {failure.after:.0f} s (Retry-After), more than model.patience allows"
        else:
            waited = f"and did so for {patience:g} s (model.patience)"
        return FailingError(
            f"{self.base_url}: {failure.what}, {waited}; see to the server, then the same command goes on "
            "from what was committed",
            Refused(failure.status, f"the server {failure.what}, {waited}", failed=True),
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
