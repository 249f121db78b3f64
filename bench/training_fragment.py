"""Fragment spans against TRL's DPO trainer, on the proved pairs of the same walks: the default of `bench.training`.

The pairs come from walks along right responses of BFCL samples by the embedded model after its warm-up, several wrong
steps of a state included, and stay in the run. Ours is DPO over fragments: the pairs of a sample lie on its right
response, one sequence that goes through the model once. TRL gets every pair as two sequences of the same token ids, a
pair a pass, which is its fastest on a CPU; on a GPU an update a pass. Both compute the reference's log-probabilities,
train a LoRA adapter (fp32 on a CPU, bf16 on a GPU, with gradient checkpointing there) and make the same updates.

    speedup_vs_trl        pairs a second, ours / TRL's; ours are timed before and after it
    token_share           tokens that go through the model in our rows / in a sequence of its own for every step
    max_loss_difference   largest difference to a straightforward computation of the pairs' losses: each span's
                          log-probability from a forward pass over its own whole sequence
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from itool_data.choosing import as_tasks, searchable
from itool_data.config import PreferenceSettings
from itool_data.mining import mine, unfinished
from itool_data.policy.base import derive_seed
from itool_data.policy.load import Adapter, BaseModel, choose_device, load_tokenizer
from itool_data.policy.open import open_policy, open_prompter
from itool_data.prompt import tokenise
from itool_data.run import Run
from itool_data.store.samples import read_samples
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool
from itool_train.collate import step_logprobs
from itool_train.lessons import pairs_of
from itool_train.losses import StepLogprobs, dpo, hyperparameters
from itool_train.pair_trainer import PairTrainer, Schedule
from itool_train.qlora import load_trainable
from itool_train.step_pairs import StepPair, ordered_updates
from itool_train.trainer_arguments import trainer_arguments
from itool_train.tree_batch import tree_batches

BATCH = 24  # pairs an update: those of a few samples
BETA = 0.1
SETTINGS = PreferenceSettings(
    loss="dpo", span="fragment", quantization="none", batch=BATCH, epochs=1, lr=1e-5, validation=0, collapse=0
)


def walked_pairs(run: Run, base: BaseModel, adapter: Adapter | None, n_samples: int) -> list[StepPair]:
    """Fragment pairs of walks along some samples; the walks that are missing are made."""
    prompter = open_prompter(run.config.model, base)
    ordered = sorted(read_samples(run.store, "split = 'train'"), key=lambda s: derive_seed("bench", s.sample_id))
    pool = LocalPool(Desk(open_policy(run.config.model, base, adapter), prompter))
    chosen, _ = searchable(run, pool, prompter, tokenise(prompter, ordered[:n_samples])[0], "walk")
    tasks = as_tasks(run, pool, chosen, 1, "walk")
    for _ in mine(run, pool, unfinished(run, tasks), "walk"):
        pass
    pool.close()
    wanted = {task.tree_id for task in tasks}
    rows = query(run.store, "SELECT * FROM pairs WHERE proved ORDER BY tree_id, pair_id").to_pylist()
    return pairs_of(run, [row for row in rows if row["tree_id"] in wanted])


def straightforward(model: Any, pair: StepPair) -> StepLogprobs:
    """The log-probabilities of a pair's spans, each from a pass over its own sequence."""
    found = []
    for step, (first, after) in zip((pair.chosen, pair.rejected), pair.spans, strict=True):
        ids = torch.tensor([[*pair.prompt, *step]], device=model.device)
        logprobs = torch.log_softmax(model(input_ids=ids).logits[0].float(), -1)
        start = len(pair.prompt)
        found.append(sum(logprobs[start + i - 1, step[i]] for i in range(first, after)))
    lengths = [torch.tensor([after - first], device=model.device) for first, after in pair.spans]
    return StepLogprobs(found[0].reshape(1), found[1].reshape(1), *lengths)  # type: ignore[union-attr]


def loss_difference(model: Any, pairs: Sequence[StepPair]) -> float:
    """Largest difference of DPO's losses under a moved adapter, the reference being the model without one."""
    own: list[float] = []
    naive: list[float] = []
    with torch.no_grad():
        for laid_out in tree_batches(pairs, SETTINGS.micro_tokens):
            batch = laid_out.to(model.device)
            policy = step_logprobs(model, batch)
            with model.disable_adapter():
                reference = step_logprobs(model, batch)
            own += dpo(policy, reference, BETA).loss.tolist()
        for pair in pairs:
            policy = straightforward(model, pair)
            with model.disable_adapter():
                reference = straightforward(model, pair)
            naive += dpo(policy, reference, BETA).loss.tolist()
    return max(abs(a - b) for a, b in zip(own, naive, strict=True))


def our_seconds(model: Any, updates: list[list[StepPair]], device: str) -> float:
    """Seconds of our training over the updates, the reference's passes included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        args = trainer_arguments(
            SETTINGS, len(updates), hyperparameters(SETTINGS)["lr"], 42, device, folder, folder, from_start=False
        )
        trainer = PairTrainer(model, args, SETTINGS, Schedule(updates, [], 1), folder, lambda u, log: None, print)
        started = time.monotonic()
        trainer.fit(trainer.logprobs([pair for update in updates for pair in update]), None)
        return time.monotonic() - started


def trl_seconds(model: Any, tokenizer: Any, pairs: Sequence[StepPair], device: str) -> float:
    """Seconds of TRL's DPO trainer over the pairs as sequences of the same token ids."""
    from datasets import Dataset, disable_progress_bars
    from transformers.trainer_callback import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    class OnIds(DPOTrainer):  # type: ignore[misc]
        """Takes a row's token ids as they are."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    disable_progress_bars()
    rows = [
        {"prompt_ids": list(p.prompt), "chosen_ids": list(p.chosen), "rejected_ids": list(p.rejected)} for p in pairs
    ]
    folder = Path(tempfile.mkdtemp())
    on_gpu = device == "cuda"
    a_pass = BATCH if on_gpu else 1
    args = DPOConfig(
        output_dir=str(folder), per_device_train_batch_size=a_pass, gradient_accumulation_steps=BATCH // a_pass,
        num_train_epochs=1, learning_rate=1e-5, lr_scheduler_type="cosine", beta=BETA, use_cpu=not on_gpu, bf16=on_gpu,
        max_length=None, gradient_checkpointing=on_gpu, report_to="none", disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = OnIds(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    shutil.rmtree(folder, ignore_errors=True)
    return seconds


def proved_pairs(run: Run, base: BaseModel, adapter: Adapter | None, n_samples: int, limit: int) -> list[StepPair]:
    """Fragment pairs, several wrong steps of a state included.

    Args:
        run: open for writing.
        base: its base model.
        adapter: of the policy that walks.
        n_samples: to walk along.
        limit: of pairs; no sample is cut.
    """
    config = run.config.model_copy(
        update={
            "walk": run.config.walk.model_copy(update={"wrong": 4, "width": 8}),
            "preference": SETTINGS,
            "pairs": run.config.pairs.model_copy(update={"proved": True}),
        }
    )
    pairs: list[StepPair] = []
    for pair in walked_pairs(Run(run.folder, config, run.store), base, adapter, n_samples):
        if len(pairs) >= limit and pair.sample_id != pairs[-1].sample_id:
            break
        pairs.append(pair)
    return pairs


def measure(run: Run, base: BaseModel, n_samples: int, limit: int) -> dict[str, float]:
    """The figures.

    Args:
        run: open for writing, with a warmed-up adapter.
        base: its base model.
        n_samples: to walk along.
        limit: of pairs; no sample is cut.
    """
    device = choose_device(run.config.model)
    adapter = run.adapter(base, 1)
    pairs = proved_pairs(run, base, adapter, n_samples, limit)
    updates = ordered_updates(pairs, BATCH, 1, 42)
    samples = len({pair.sample_id for pair in pairs})
    print(f"{len(pairs)} pairs of {samples} right responses, {len(updates)} updates of about {BATCH}", flush=True)
    ours = [batch.input_ids.numel() for update in updates for batch in tree_batches(update, SETTINGS.micro_tokens)]
    apart = sum(2 * len(p.prompt) + len(p.chosen) + len(p.rejected) - 2 for p in pairs)
    model = load_trainable(base, adapter.path if adapter else None, SETTINGS, device, 42)
    before = our_seconds(model, updates, device)
    print(f"fragments: {len(pairs) / before:.2f} pairs/s", flush=True)
    difference = loss_difference(model, updates[0])
    print(f"losses differ by {difference:.1e} at most from a straightforward computation", flush=True)
    theirs = trl_seconds(model, load_tokenizer(base), [pair for update in updates for pair in update], device)
    print(f"TRL: {len(pairs) / theirs:.2f} pairs/s", flush=True)
    model = load_trainable(base, adapter.path if adapter else None, SETTINGS, device, 42)
    after = our_seconds(model, updates, device)
    print(f"fragments again: {len(pairs) / after:.2f} pairs/s", flush=True)
    return {
        "speedup_vs_trl": round(2 * theirs / (before + after), 2),
        "token_share": round(sum(ours) / apart, 3),
        "max_loss_difference": float(f"{difference:.2g}"),
    }
