"""Training on a sample's pairs together against TRL's trainers, on the same pairs of the same real searches.

`--span fragment` (the default): `bench/training_fragment.py`. `--span step`: tree batches against TRL's SimPO trainer.
The pairs are mined from BFCL samples with prompts of 400 tokens or more by the embedded model after its warm-up, at a
higher temperature and with no bound on Q of the chosen step: trees with several pairs are wanted here, as larger models
leave them, not good pairs. They stay in the run, and a later call takes them from there. TRL gets the very token ids,
with the end-of-turn that it adds to every completion; both train a LoRA adapter, with the same updates: in fp32 on a
CPU, in bf16 with gradient checkpointing on a GPU, where TRL gets an update's pairs in one pass.

    speedup_vs_trl        pairs a second of tree batches / of TRL's CPOTrainer (loss_type="simpo"), a pair a pass there,
                          which is its fastest on a CPU; ours are timed before and after it
    token_share           tokens that go through the model in tree batches / in a sequence of its own for every step
    max_loss_difference   largest difference between the two losses of a pair of the first update, where both must
                          agree: with end-of-turn after all steps on both sides
    max_grad_difference   largest difference between the two gradients of those losses' mean, over all parameters

    python -m bench.training [--span fragment] [--samples 12] [--pairs 24] [--run runs/bench]
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.shared import prepared_run
from itool_data.choosing import as_tasks
from itool_data.config import PreferenceSettings
from itool_data.mining import mine, unfinished
from itool_data.policy.base import derive_seed
from itool_data.policy.load import Adapter, BaseModel, choose_device, find_model, load_tokenizer
from itool_data.policy.memory import keep_freed_memory
from itool_data.policy.open import open_policy, open_prompter
from itool_data.prompt import Tokenised, tokenise
from itool_data.run import Run, write_run
from itool_data.store.samples import read_samples
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool
from itool_train.step_pairs import StepPair, ordered_updates

PROMPT_TOKENS = (400, 800)
BATCH = 8  # pairs an update
SEARCH = {"mcts": {"temperature": 1.3, "max_tokens": 96}, "pairs": {"min_q_chosen": -2.0}}
SETTINGS = PreferenceSettings(quantization="none", batch=BATCH, epochs=1, lr=1e-5, validation=0, collapse=0)


def mined_pairs(run: Run, base: BaseModel, adapter: Adapter | None, n_samples: int) -> list[StepPair]:
    """Pairs of the searches of some samples with long prompts; the searches that are missing are made."""
    prompter = open_prompter(run.config.model, base)
    ordered = sorted(read_samples(run.store, "split = 'train'"), key=lambda s: derive_seed("bench", s.sample_id))
    low, high = PROMPT_TOKENS
    chosen: list[Tokenised] = []
    for sample in ordered:
        ((one,), _) = tokenise(prompter, [sample])
        if low <= len(one.prompt) <= high:
            chosen.append(one)
        if len(chosen) == n_samples:
            break
    policy = open_policy(run.config.model, base, adapter)
    tasks = as_tasks(run, policy, chosen, 1, "mcts")
    missing = unfinished(run, tasks)
    shown, done = time.monotonic(), 0
    for finished in mine(run, LocalPool(Desk(policy, prompter)), missing, "mcts"):
        done += len(finished)
        if time.monotonic() - shown > 15:
            shown = time.monotonic()
            print(f"  mined {done}/{len(missing)} trees", flush=True)
    sql = "SELECT * FROM pairs ORDER BY tree_id, pair_id"
    wanted = {task.tree_id for task in tasks}
    return [
        StepPair(r["pair_id"], r["sample_id"], tuple(r["prompt_ids"]), tuple(r["chosen_ids"]), tuple(r["rejected_ids"]))
        for r in query(run.store, sql).to_pylist()
        if r["tree_id"] in wanted
    ]


def whole_trees(pairs: Sequence[StepPair], limit: int) -> list[StepPair]:
    """Pairs of the first samples that have them, no sample cut, until there are so many."""
    taken: list[StepPair] = []
    for pair in pairs:
        if len(taken) >= limit and pair.sample_id != taken[-1].sample_id:
            break
        taken.append(pair)
    return taken


def with_end(pairs: Sequence[StepPair], end: int) -> list[StepPair]:
    """The pairs as TRL makes them: end-of-turn after every step."""

    def ended(step: tuple[int, ...]) -> tuple[int, ...]:
        return step if step[-1] == end else (*step, end)

    return [StepPair(p.pair_id, p.sample_id, p.prompt, ended(p.chosen), ended(p.rejected)) for p in pairs]


def trl_trainer(model: Any, tokenizer: Any, pairs: Sequence[StepPair], folder: Path, device: str) -> Any:
    """TRL's SimPO trainer over token ids, in their order."""
    from datasets import Dataset, disable_progress_bars
    from torch.utils.data import SequentialSampler
    from transformers.trainer_callback import PrinterCallback
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    class OnIds(CPOTrainer):  # type: ignore[misc]
        """Takes a row's token ids, not its text, and the rows in their order."""

        def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
            row: dict[str, Any] = {}
            prompt = feature["prompt_tokens"]
            for side in ("chosen", "rejected"):
                step = feature[f"{side}_tokens"]
                row[f"{side}_input_ids"] = prompt + step
                row[f"{side}_attention_mask"] = [1] * len(prompt + step)
                row[f"{side}_labels"] = [-100] * len(prompt) + step
            return row | {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    disable_progress_bars()
    rows = [
        {
            "prompt": "", "chosen": "", "rejected": "",
            "prompt_tokens": list(p.prompt), "chosen_tokens": list(p.chosen), "rejected_tokens": list(p.rejected),
        }
        for p in pairs
    ]  # fmt: skip
    on_gpu = device == "cuda"
    a_pass = BATCH if on_gpu else 1
    arguments = CPOConfig(
        output_dir=str(folder), per_device_train_batch_size=a_pass, gradient_accumulation_steps=BATCH // a_pass,
        num_train_epochs=1, learning_rate=1e-5, lr_scheduler_type="cosine", loss_type="simpo", cpo_alpha=0.0, beta=2.5,
        simpo_gamma=0.5, use_cpu=not on_gpu, bf16=on_gpu, gradient_checkpointing=on_gpu, report_to="none",
        disable_tqdm=True, save_strategy="no", remove_unused_columns=False,
    )  # fmt: skip
    trainer = OnIds(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    return trainer


def our_seconds(model: Any, updates: list[list[StepPair]], settings: PreferenceSettings, device: str) -> float:
    """Seconds of our training over the updates."""
    from itool_train.losses import hyperparameters
    from itool_train.pair_trainer import PairTrainer, Schedule
    from itool_train.trainer_arguments import trainer_arguments

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        args = trainer_arguments(
            settings, len(updates), hyperparameters(settings)["lr"], 42, device, folder, folder, from_start=False
        )
        trainer = PairTrainer(model, args, settings, Schedule(updates, [], 1), folder, lambda u, log: None, print)
        started = time.monotonic()
        trainer.fit({}, None)
        return time.monotonic() - started


def differences(model: Any, trainer: Any, pairs: Sequence[StepPair]) -> tuple[float, float]:
    """Largest differences to TRL's trainer in the losses of pairs and in the gradient of their mean."""
    import torch

    from itool_train.collate import step_logprobs
    from itool_train.losses import simpo
    from itool_train.tree_batch import tree_batches

    def gradient() -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    losses: list[list[float]] = [[], []]
    gradients = []
    model.zero_grad()
    for batch in tree_batches(pairs, SETTINGS.micro_tokens):
        loss = simpo(step_logprobs(model, batch.to(model.device)), 2.5, 0.5).loss
        torch.autograd.backward(loss.sum() / len(pairs))
        losses[0] += loss.tolist()
    gradients.append(gradient())
    model.zero_grad()
    for i in range(len(pairs)):
        rows = trainer.data_collator([trainer.train_dataset[i]])
        on_device = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in rows.items()}
        logprobs = trainer.concatenated_forward(model, on_device)[:2]
        loss = trainer.cpo_loss(*logprobs)[0]
        torch.autograd.backward(loss.sum() / len(pairs))
        losses[1] += loss.tolist()
    gradients.append(gradient())
    model.zero_grad()
    worst = max(abs(a - b) for a, b in zip(*losses, strict=True))
    return worst, float((gradients[0] - gradients[1]).abs().max())


def measure(opened: Run, n_samples: int, limit: int) -> dict[str, float]:
    """The figures of whole steps; none where the searches gave no pair.

    Args:
        opened: a run that is open for writing, with a warmed-up adapter.
        n_samples: to search.
        limit: of pairs; no sample is cut.
    """
    from itool_train.qlora import load_trainable
    from itool_train.tree_batch import tree_batches

    changed = {name: getattr(opened.config, name).model_copy(update=own) for name, own in SEARCH.items()}
    run = replace(opened, config=opened.config.model_copy(update=changed))
    device = choose_device(run.config.model)
    base = find_model(run.config.model)
    adapter = run.adapter(base, 1)
    print(f"pairs of {n_samples} searches with prompts of {PROMPT_TOKENS[0]} tokens or more", flush=True)
    pairs = whole_trees(mined_pairs(run, base, adapter, n_samples), limit)
    if not pairs:
        return {}
    tokenizer = load_tokenizer(base)
    updates = ordered_updates(pairs, BATCH, 1, 42)
    in_order = with_end([pair for update in updates for pair in update], tokenizer.eos_token_id)
    trees = len({p.sample_id for p in pairs})
    print(f"{len(pairs)} pairs of {trees} trees, {len(updates)} updates of about {BATCH}", flush=True)
    ours = [batch.input_ids.numel() for update in updates for batch in tree_batches(update, SETTINGS.micro_tokens)]
    apart = sum(2 * len(p.prompt) + len(p.chosen) + len(p.rejected) - 2 for p in pairs)

    model = load_trainable(base, adapter.path if adapter else None, SETTINGS, device, 42)
    scratch = Path(tempfile.mkdtemp())
    trainer = trl_trainer(model, tokenizer, in_order, scratch, device)
    loss_difference, gradient_difference = differences(model, trainer, in_order[: len(updates[0])])
    print(f"losses differ by {loss_difference:.1e} at most, gradients by {gradient_difference:.1e}", flush=True)
    before = our_seconds(model, updates, SETTINGS, device)
    print(f"tree batches: {len(pairs) / before:.2f} pairs/s", flush=True)
    started = time.monotonic()
    trainer.train()
    theirs = time.monotonic() - started
    print(f"TRL: {len(pairs) / theirs:.2f} pairs/s", flush=True)
    after = our_seconds(model, updates, SETTINGS, device)
    print(f"tree batches again: {len(pairs) / after:.2f} pairs/s", flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    return {
        "speedup_vs_trl": round(2 * theirs / (before + after), 2),
        "token_share": round(sum(ours) / apart, 3),
        "max_loss_difference": float(f"{loss_difference:.2g}"),
        "max_grad_difference": float(f"{gradient_difference:.2g}"),
    }


def main() -> None:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--span", choices=["fragment", "step"], default="fragment")
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=0, help="at most about so many; 0: 24, of fragments 120")
    parser.add_argument("--run", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    prepared_run(options.run)
    keep_freed_memory()
    with write_run(options.run, None, []) as run:
        if options.span == "fragment":
            from bench import training_fragment

            base = find_model(run.config.model)
            figures = training_fragment.measure(run, base, options.samples, options.pairs or 120)
        else:
            figures = measure(run, options.samples, options.pairs or 24)
    if not figures:
        raise SystemExit("the searches gave no pair; raise --samples")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
