"""Processes to be killed, of the tests' and of `bench.kills`, that begin with the heavy libraries loaded.

A new process takes ten seconds of a core to import torch, transformers and peft. These are forked from a server that
did so once and ran nothing (multiprocessing's forkserver): apart from the imports they are like any other.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
HEAVY = [
    "itool_train.pair_trainer",
    "itool_train.warmup",
    "itool_data.policy.transformers",
    "itool_data.mining",
    "itool_cli.main",
]
_CONTEXT.set_forkserver_preload(HEAVY)


def start(said: Path, target: Callable[..., Any], *arguments: object, **environment: str) -> BaseProcess:
    """Call a function of a module in a process of its own.

    Args:
        said: a file that its standard output and error go to.
        target: the function.
        arguments: its own.
        environment: variables set before it is called.
    """
    process = _CONTEXT.Process(target=_call, args=(said, environment, target, arguments))
    process.start()
    return process


def run(said: Path, target: Callable[..., Any], *arguments: object, code: int = 0, **environment: str) -> str:
    """Do the same, wait for its end, check how it ended (minus the signal that killed it) and give what it said."""
    process = start(said, target, *arguments, **environment)
    process.join()
    text = said.read_text()
    assert process.exitcode == code, text
    return text


def end(process: BaseProcess, by: signal.Signals) -> None:
    """Send a signal, unless the process is gone already, and wait."""
    assert process.pid
    with suppress(ProcessLookupError):
        os.kill(process.pid, by)
    process.join()


def together(folder: Path, processes: int, target: Callable[..., Any], *arguments: object) -> list[str]:
    """Do the same in several processes that train together (gloo), as `accelerate launch` starts one for each GPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said = [folder / f"said-{rank}" for rank in range(processes)]
    started = [
        start(file, target, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), ACCELERATE_USE_CPU="true", **group)
        for rank, file in enumerate(said)
    ]
    for process in started:
        process.join()
    texts = [file.read_text() for file in said]
    assert [process.exitcode for process in started] == [0] * processes, texts
    return texts


def command(*words: object) -> None:
    """An `itool` command, for a process of its own."""
    from itool_cli.main import main

    sys.argv = ["itool", *map(str, words)]
    main()


def _call(said: Path, environment: dict[str, str], target: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    import torch

    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        target(*arguments)
    except KeyboardInterrupt:  # as an interpreter of its own ends at one that nothing caught
        sys.exit(130)
