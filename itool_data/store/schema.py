"""The tables of a run and their columns.

JSON-valued columns are JSON text, because structs of differing keys would become nulls in Arrow; token ids are lists of
int32. Left out: how rows are made and read.
"""

import pyarrow as pa

IDS = pa.list_(pa.int32())

SCHEMAS: dict[str, pa.Schema] = {
    "samples": pa.schema(
        {
            "sample_id": pa.string(),
            "source": pa.string(),
            "source_id": pa.string(),
            "split": pa.string(),
            "messages": pa.string(),
            "tools": pa.string(),
            "target": pa.string(),
            "calls": pa.string(),
            "accepted": pa.string(),
            "difficulty": pa.string(),
            "a": pa.int32(),
            "b": pa.int32(),
            "c": pa.int32(),
        }
    ),
    "rejects": pa.schema(
        {
            "stage": pa.string(),
            "source": pa.string(),
            "file": pa.string(),
            "line": pa.int64(),
            "field": pa.string(),
            "reason": pa.string(),
        }
    ),
    "perplexity": pa.schema(
        {
            "sample_id": pa.string(),
            "round": pa.int32(),
            "policy": pa.string(),
            "n_tokens": pa.int32(),
            "mean_nll": pa.float64(),
            "perplexity": pa.float64(),
        }
    ),
    "trees": pa.schema(
        {
            "tree_id": pa.string(),
            "sample_id": pa.string(),
            "round": pa.int32(),
            "policy": pa.string(),
            "config_hash": pa.string(),
            "search": pa.string(),
            "seed": pa.int64(),
            "nodes": pa.int32(),
            "pairs": pa.int32(),
            "requests": pa.int32(),
            "tokens_prefilled": pa.int64(),
            "tokens_reused": pa.int64(),
            "tokens_decoded": pa.int64(),
            "tokens_judged": pa.int64(),
            "seconds": pa.float64(),
            "dropped_delta_q": pa.int32(),
            "dropped_similarity": pa.int32(),
            "dropped_q_chosen": pa.int32(),
        }
    ),
    "nodes": pa.schema(
        {
            "tree_id": pa.string(),
            "path": pa.string(),
            "depth": pa.int32(),
            "step_text": pa.string(),
            "step_ids": IDS,
            "logprob": pa.float64(),
            "prior": pa.float64(),
            "visits": pa.int32(),
            "q": pa.float64(),
            "v": pa.float64(),
            "reward": pa.float64(),
            "outcome": pa.float64(),
            "self_eval": pa.float64(),
            "terminal": pa.bool_(),
        }
    ),
    "pairs": pa.schema(
        {
            "pair_id": pa.string(),
            "tree_id": pa.string(),
            "sample_id": pa.string(),
            "round": pa.int32(),
            "policy": pa.string(),
            "path": pa.string(),
            "prompt_ids": IDS,
            "chosen_ids": IDS,
            "rejected_ids": IDS,
            "prefix_text": pa.string(),
            "chosen_text": pa.string(),
            "rejected_text": pa.string(),
            "q_chosen": pa.float64(),
            "q_rejected": pa.float64(),
            "similarity": pa.float64(),
            "chosen_terminal": pa.bool_(),
            "rejected_terminal": pa.bool_(),
            "error_class": pa.string(),
        }
    ),
    "training": pa.schema(  # a row an update, and a row a validation; of the warm-up, loss, rate and norm alone
        {
            "round": pa.int32(),  # the warm-up's is 0
            "policy": pa.string(),  # that the training started from
            "objective": pa.string(),  # simpo, dpo, ipo or orpo; sft-easy, sft-medium, sft-hard
            "split": pa.string(),  # train or validation
            "update": pa.int32(),
            "epoch": pa.float64(),
            "loss": pa.float64(),
            "chosen_logprob": pa.float64(),  # mean over pairs of the mean a token, as is rejected's
            "rejected_logprob": pa.float64(),
            "margin": pa.float64(),  # mean difference of what the loss takes as rewards
            "accuracy": pa.float64(),  # share of pairs with a margin above 0
            "learning_rate": pa.float64(),  # null for a validation
            "gradient_norm": pa.float64(),  # null for a validation
            "pairs": pa.int32(),
            "tokens": pa.int64(),  # that went through the model
            "seconds": pa.float64(),
        }
    ),
    "predictions": pa.schema(
        {
            "benchmark": pa.string(),
            "policy": pa.string(),
            "category": pa.string(),
            "item": pa.string(),
            "position": pa.int32(),  # in the category, because an id can stand for two items
            "output": pa.string(),  # of several turns: JSON, a list (turn) of lists (step) of replies
            "calls": pa.string(),  # JSON: the calls of all replies; null where the output does not decode
            "valid": pa.bool_(),
            "error_type": pa.string(),
            "error_class": pa.string(),
            "message": pa.string(),
            "verdict": pa.string(),  # JSON: all faults, attempts and the note
            "tokens_prompt": pa.int32(),
            "tokens_output": pa.int32(),
            "finish": pa.string(),
            "seconds": pa.float64(),
        }
    ),
}

LOG_SCHEMA = pa.schema(
    {
        "version": pa.int64(),
        "time": pa.timestamp("us", tz="UTC"),
        "operation": pa.string(),
        "rows": pa.string(),  # JSON: table -> rows added
        "table_versions": pa.string(),  # JSON: table -> Delta version this commit made visible
        "info": pa.string(),  # JSON: whatever the operation records of itself
    }
)
