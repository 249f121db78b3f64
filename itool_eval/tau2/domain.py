"""The official telecom domain: world, tools, tasks and the solo agent's prompt, loaded by file (docs/tau2.md §2).

It is code of the wheel whose SHA-256 is pinned. `tau2` itself is not imported, only the modules that the domain is made
of, and `sys.modules` is afterwards as it was before. Of the packages that they import, those that only log, read
settings or talk to models have stand-ins. No call can cost much here, so none has a limit. Left out: users, other
domains, and the official loop and evaluation, which are ours (`simulation.py`, `reward.py`).
"""

import importlib
import logging
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from itool_data.assets import TAU2, unpacked
from itool_data.errors import ItoolError
from itool_data.sample import JSON

_PACKAGE = "tau2"


class Domain:
    """The domain; official objects (tasks, environments, messages) are what the official classes make.

    Attributes:
        stop_function: the tool whose call ends a conversation.
        stop_token: what the official agent puts in that call's place.
    """

    def __init__(self, folder: Path) -> None:
        """Load it.

        Args:
            folder: the folder `tau2` of the official wheel.

        Raises:
            ItoolError: the modules are absent or cannot be imported.
        """
        try:
            with official_modules(folder):
                agent = importlib.import_module("tau2.agent.llm_agent")
                environment = importlib.import_module("tau2.domains.telecom.environment")
                self.messages = importlib.import_module("tau2.data_model.message")
                self._task = importlib.import_module("tau2.data_model.tasks").Task
        except (OSError, ImportError, SyntaxError) as error:
            raise ItoolError(f"{folder}: cannot be loaded ({error}); fetch the wheel again") from error
        self._agent = agent.LLMSoloAgent
        self._official = environment
        self._company = environment.load_file(environment.TELECOM_DB_PATH)
        self._phone = environment.load_file(environment.TELECOM_USER_DB_PATH)
        self.stop_function: str = self._agent.STOP_FUNCTION_NAME
        self.stop_token: str = self._agent.STOP_TOKEN

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """The ids of each split's tasks, in the data's order."""
        splits = {name: set(ids) for name, ids in self._official.get_tasks_split().items()}
        return {name: [task_id for task_id in self._tasks if task_id in ids] for name, ids in splits.items()}

    @cached_property
    def _tasks(self) -> dict[str, dict[str, JSON]]:
        return {task["id"]: task for task in self._official.load_file(self._official.TELECOM_TASK_SET_PATH)}

    def task(self, task_id: str) -> Any:
        """The task with an id."""
        return self._task.model_validate(self._tasks[task_id])

    def has(self, task: object) -> bool:
        """Whether a task as JSON is one of the domain's in all that its reward rests on."""
        try:
            given = self._task.model_validate(task)
            own = self.task(given.id)
        except (ValueError, KeyError, RecursionError):
            return False
        return bool((given.initial_state, given.evaluation_criteria) == (own.initial_state, own.evaluation_criteria))

    def environment(self, task: Any, history: Sequence[Any] = (), solo: bool = True) -> Any:
        """A new world in the state in which a task begins, or in that after a history.

        Args:
            task: the task.
            history: official messages whose calls are run again, and must return what they returned.
            solo: the agent uses the tools of the user's phone too; otherwise they are the user's.
        """
        company = self._official.TelecomDB.model_validate(self._company)
        phone = self._official.TelecomUserDB.model_validate(self._phone)
        made = self._official.get_environment(company, phone)
        # Asked for by its argument, it would describe all tools anew, to see that no two have one name.
        made.solo_mode = solo
        # Officially one object for all worlds of a process, which a task with a slow VPN spoils for those after it.
        made.user_tools.default_vpn_details = made.user_tools.default_vpn_details.model_copy()
        state = task.initial_state
        made.set_state(state.initialization_data, state.initialization_actions, list(history))
        return made

    def system(self, task: Any) -> str:
        """The official solo agent's system text: its instruction, the policy and the task's ticket."""
        text: str = self._agent([], self._policy, task).system_prompt
        return text

    @cached_property
    def tools(self) -> tuple[dict[str, JSON], ...]:
        """The functions on offer, the same for every task: the company's, the phone's, and the one that ends it."""
        world = self._official.get_environment(solo_mode=True)
        some_task = self.task(next(iter(self._tasks)))
        agent = self._agent([*world.get_tools(), *world.get_user_tools()], self._policy, some_task)
        return tuple(tool.openai_schema for tool in agent.tools)

    @cached_property
    def _policy(self) -> str:
        text: str = self._official.get_environment(solo_mode=True).get_policy()
        return text


@cache
def load_domain() -> Domain:
    """The domain of the pinned wheel, which is fetched on the first call.

    Raises:
        ItoolError: it cannot be had.
    """
    return Domain(unpacked(TAU2))


@contextmanager
def official_modules(folder: Path) -> Iterator[None]:
    """Have the modules of the folder `tau2` importable, over stand-ins; afterwards they are forgotten again.

    What was imported of them before, such as by another `Domain`, is another copy.
    """
    with _in_place(_stand_ins(folder)):
        yield


def _stand_ins(folder: Path) -> dict[str, ModuleType]:
    """What stands where the official modules import something that the domain does not need, or that does harm."""

    def module(name: str, **content: object) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(content)
        return made

    modules = [
        # Its own first lines are not run.
        module(_PACKAGE, __path__=[str(folder)]),
        # Would load every model client there is; only the agent asks a model.
        module("tau2.utils.llm_utils", generate=None),
        # Would write what is done to the terminal.
        module("loguru", logger=logging.Logger(_PACKAGE, logging.CRITICAL + 1)),
        # Would read a file `.env` from wherever the process is.
        module("dotenv", load_dotenv=lambda: True),
        module("toml", load=lambda file: tomllib.loads(file.read())),
        # Compares runs, and merges data into a world: no task of the domain has any.
        module("deepdiff", DeepDiff=None),
        module("addict", Dict=None),
    ]
    return {module.__name__: module for module in modules}


@contextmanager
def _in_place(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Have modules under their names; afterwards these, and what was imported from them, are forgotten again."""
    packages = {name.partition(".")[0] for name in modules}

    def named() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages}

    before = named()
    for name in before:
        del sys.modules[name]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in named():
            del sys.modules[name]
        sys.modules.update(before)
