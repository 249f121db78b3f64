"""A proxy on loopback that does to a server's answers what networks and overload do, as a test plans it."""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from openai_server import serve


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    Attributes:
        kind: an error `status` in the server's place; a `delay` before the request goes on; the connection ends
            without an answer (`refuse`) or in the middle of one (`drop`); a JSON that is `cut` off.
        status: of a `status`.
        retry_after: its header.
        seconds: of a `delay`.
    """

    kind: Literal["status", "delay", "refuse", "drop", "cut"]
    status: int = 503
    retry_after: str = ""
    seconds: float = 0.0


@dataclass
class Seen:
    """A request that the proxy was sent, when, and what it did to it."""

    path: str
    body: bytes
    time: float
    fault: Fault | None


@dataclass
class FaultProxy:
    """The proxy; `plan` says what happens to a request by its number (of those with a body) and its body."""

    upstream: str
    plan: Callable[[int, bytes], Fault | None] = lambda number, body: None
    seen: list[Seen] = field(default_factory=list)

    def start(self) -> "FaultProxy":
        self._lock = threading.Lock()
        self._http = serve(self._answer)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, path: str, headers: dict[str, str], data: bytes) -> tuple[int, dict[str, str], bytes] | None:
        with self._lock:
            fault = self.plan(sum(bool(seen.body) for seen in self.seen), data) if data else None
            self.seen.append(Seen(path, data, time.monotonic(), fault))
        if fault and fault.kind == "refuse":
            return None
        if fault and fault.kind == "status":
            extra = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return fault.status, extra, b'{"error": {"message": "overloaded"}}'
        if fault and fault.kind == "delay":
            time.sleep(fault.seconds)
        with contextlib.suppress(OSError, http.client.HTTPException):  # a server that is down
            status, body = self._forward(path, headers, data)
            if fault and fault.kind == "drop":
                return status, {"Content-Length": str(len(body))}, body[: len(body) // 2]
            return status, {}, body[: len(body) // 2] if fault and fault.kind == "cut" else body
        return None

    def _forward(self, path: str, headers: dict[str, str], data: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.upstream.partition("//")[2].partition("/")[0], timeout=120)
        passed = {name: headers[name] for name in ("authorization", "content-type") if name in headers}
        connection.request("POST" if data else "GET", path, data or None, passed)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
        return status, body
