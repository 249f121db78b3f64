"""The policy in memory, here or on workers: what follows one another with the same adapter uses the same one.

Left out: which adapter is wanted (the callers say), and what is done with it.
"""

from dataclasses import dataclass

from itool_data.policy.load import Adapter, find_model
from itool_data.policy.open import open_prompter
from itool_data.prompt import Prompter
from itool_data.run import Run
from itool_data.workers.open import change_adapter, open_pool
from itool_data.workers.pool import Pool


@dataclass
class Loaded:
    """A policy that is in memory, and the prompter with its tokenizer."""

    adapter: Adapter | None
    pool: Pool
    prompter: Prompter


class Policies:
    """Loads a run's policies, one at a time."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None
        self._asleep = False

    def load(self, run: Run, adapter: Adapter | None) -> Loaded:
        """A policy, loaded if it is not the one in memory, in whose place it then is.

        Args:
            run: whose model and workers.
            adapter: the policy's; None: the base model.
        """
        model, workers = run.config.model, run.config.workers
        if self._loaded is None:
            base = find_model(model)
            self._loaded = Loaded(adapter, open_pool(model, workers, base, adapter), open_prompter(model, base))
        elif self._asleep:
            self._loaded.pool.wake()
        self._asleep = False
        if self._loaded.adapter != adapter:
            self._loaded.pool = change_adapter(self._loaded.pool, model, workers, find_model(model), adapter)
            self._loaded.adapter = adapter
        return self._loaded

    def rest(self) -> None:
        """Give back the memory of devices, for a training: what is loaded sleeps if it can be woken, else it goes."""
        if self._loaded is None or self._asleep:
            return
        self._asleep = self._loaded.pool.sleep()
        if not self._asleep:
            self.close()

    def close(self) -> None:
        """Give back the memory of what is loaded; whoever needs it loads it again."""
        if self._loaded is not None:
            self._loaded.pool.close()
            self._loaded, self._asleep = None, False
