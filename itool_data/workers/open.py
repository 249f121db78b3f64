"""From a run's settings to the pool that does its work: one policy here, or `workers.count` of them on Ray.

On other machines than this one, a worker finds the base model for itself (the embedded one and a Hub name are fetched,
a folder must be there and hold the same weights) and gets the adapter's files through Ray. Left out: the start of a
cluster, which is Ray's own (`ray start`).
"""

import os
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itool_data.assets import build_once
from itool_data.config import ModelSettings, WorkerSettings
from itool_data.errors import ItoolError, first_line
from itool_data.policy.load import Adapter, BaseModel, find_model
from itool_data.policy.open import open_policy, open_prompter
from itool_data.workers.pool import Desk, LocalPool, Pool

OBJECT_STORE = 256 * 2**20  # bytes of Ray's own memory on this machine; what travels is small


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_pool(settings: ModelSettings, workers: WorkerSettings, base: BaseModel, adapter: Adapter | None) -> Pool:
    """Open the policies of a base model and an adapter (None: the base model itself).

    Raises:
        ItoolError: if Ray is not installed, the cluster cannot be reached or has too few GPUs, or a worker cannot open
            its policy.
    """
    if workers.count == 1 and not workers.address:
        return LocalPool(Desk(open_policy(settings, base, adapter), open_prompter(settings, base)))
    if settings.policy == "openai":
        raise ItoolError("a server batches by itself: leave --workers and --ray-address out, or raise model.rows")
    from itool_data.workers.actors import RayPool

    ray = connect(workers)
    cores = int(ray.cluster_resources().get("CPU", 0)) if workers.address else usable_cores()
    gpus = int(ray.cluster_resources().get("GPU", 0))
    on_gpus = settings.device == "cuda" or (settings.device == "auto" and gpus > 0)
    each = _gpus_of_an_engine(settings) if on_gpus else 0
    if workers.count * each > gpus:
        raise ItoolError(
            f"workers.count is {workers.count}, but Ray sees {gpus} GPUs and every worker takes {each}; "
            f"use --workers {max(gpus // each, 1)}, or --set model.device=cpu"
        )
    if workers.address and workers.count > cores:
        raise ItoolError(f"workers.count is {workers.count}, but the cluster has {cores} CPU cores; take fewer")
    threads = 1 if on_gpus else int(os.environ.get("OMP_NUM_THREADS") or max(1, cores // workers.count))
    home = ray.get_runtime_context().get_node_id()
    if Path(settings.name).expanduser().is_dir():
        settings = settings.model_copy(update={"name": str(base.path.absolute())})  # workers start in other folders

    def opener_of(adapter: Adapter | None) -> _DeskOpener:
        files = ray.put(_read(adapter.path)) if adapter and len(ray.nodes()) > 1 else None
        return _DeskOpener(settings, base, adapter, files, home)

    return RayPool(opener_of(adapter), workers.count, each, threads, opener_of)


def _gpus_of_an_engine(settings: ModelSettings) -> int:
    """GPUs that one worker's policy runs on."""
    size = settings.engine.get("tensor_parallel_size", 1)
    return size if isinstance(size, int) and size > 0 else 1


def change_adapter(
    pool: Pool, settings: ModelSettings, workers: WorkerSettings, base: BaseModel, adapter: Adapter | None
) -> Pool:
    """The pool of another adapter of the same base model: the one at hand if it can, else a new one in its place."""
    if pool.use(adapter):
        return pool
    pool.close()
    return open_pool(settings, workers, base, adapter)


@dataclass(frozen=True)
class _DeskOpener:
    """Opens a worker's desk, on whichever machine.

    Attributes:
        settings: of the model.
        base: as it was found on the machine that everything starts from.
        adapter: the same.
        files: the adapter's, in Ray's object store, where there is more than one machine.
        home: Ray's name for that machine.
    """

    settings: ModelSettings
    base: BaseModel
    adapter: Adapter | None
    files: Any
    home: str

    def __call__(self) -> Desk:
        base = self.base if self._at_home() else self._base_here()
        return Desk(open_policy(self.settings, base, self.adapter_here()), open_prompter(self.settings, base))

    def _at_home(self) -> bool:
        import ray

        return bool(ray.get_runtime_context().get_node_id() == self.home)

    def _base_here(self) -> BaseModel:
        """The base model on another machine: the same weights, or none."""
        host = socket.gethostname()
        try:
            found = find_model(self.settings)
        except ItoolError as error:
            raise ItoolError(f"{host}: {error}") from None
        if (found.name, found.revision) != (self.base.name, self.base.revision):
            raise ItoolError(
                f"{host}: {found.path} holds {found.name}@{found.revision}, not {self.base.name}@{self.base.revision}; "
                "copy the same model there, or use a shared folder"
            )
        return found

    def adapter_here(self) -> Adapter | None:
        """The adapter; on another machine from its cache, by its content."""
        if self.adapter is None or self._at_home():
            return self.adapter
        import ray

        def write(folder: Path) -> None:
            for name, content in ray.get(self.files).items():
                (folder / name).write_bytes(content)

        return Adapter(build_once(f"adapter-{self.adapter.content}", write), self.adapter.content)


def _read(folder: Path) -> dict[str, bytes]:
    """An adapter's files by name."""
    return {
        file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix in (".json", ".safetensors")
    }


def connect(workers: WorkerSettings) -> Any:
    """Join a cluster, or start Ray on this machine; once a process. Returns the package.

    Raises:
        ItoolError: if Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not workers.address and "ray" not in sys.modules:
        # Who reaches Ray's ports can run code as this user, so they take a key that only this process's children know.
        # It is read at the import.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError:
        raise ItoolError("several workers need Ray: pip install 'itool[ray]'") from None
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if ray.is_initialized():
        return ray
    if not workers.address:
        cores = max(workers.count, usable_cores())
        ray.init("local", num_cpus=cores, object_store_memory=OBJECT_STORE, include_dashboard=False, **quiet)
        return ray
    try:
        ray.init(workers.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise ItoolError(
            f"workers.address: no Ray cluster at {workers.address} ({reason}); start one with `ray start --head`"
        ) from None
    return ray
