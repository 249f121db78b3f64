"""The tables of a run: what a row is, and every column with its type and meaning.

JSON-valued columns are JSON text, because structs of differing keys would become nulls in Arrow; token ids are lists of
int32. `docs/tables.md` is made from here. Left out: how rows are made and read.
"""

from typing import NamedTuple

import pyarrow as pa

_TEXT, _INT, _LONG, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
_IDS = pa.list_(pa.int32())

_SAMPLE = (_TEXT, "of the sample (`samples`)")
_TREE = (_TEXT, "of the tree (`trees`)")
_ROUND = (_INT, "of the loop; the first is 1")
_POLICY = (_TEXT, "who made it: base model @ revision, + its adapter's content hash")
_PAIR = {
    "pair_id": (_TEXT, "tree_id/path; further pairs of the same state are numbered"),
    "tree_id": _TREE,
    "sample_id": _SAMPLE,
    "round": _ROUND,
    "policy": _POLICY,
    "path": (_TEXT, "of the node whose children they are"),
    "prompt_ids": (_IDS, "token ids before the step: prompt and the response so far"),
    "chosen_ids": (_IDS, "token ids of the better step: the highest Q, or right"),
    "rejected_ids": (_IDS, "token ids of the worse step: the lowest Q, or wrong"),
    "prefix_text": (_TEXT, "the response so far"),
    "chosen_text": (_TEXT, "the chosen step"),
    "rejected_text": (_TEXT, "the rejected step"),
    "q_chosen": (_FLOAT, "Q of the chosen step"),
    "q_rejected": (_FLOAT, "Q of the rejected step"),
    "similarity": (_FLOAT, "how alike the steps' texts are, 0 to 1"),
    "chosen_terminal": (_BOOL, "the chosen step ends the response"),
    "rejected_terminal": (_BOOL, "the rejected step ends the response"),
    "error_class": (_TEXT, "what the rejected step breaks (A.1); `Other`: nothing, it only leads astray"),
    "state_right": (_BOOL, "the response so far can still become right"),
    "chosen_right": (_BOOL, "so it can with the chosen step"),
    "rejected_right": (_BOOL, "and with the rejected one; with neither a call begun nor one due, so is text"),
    "proved": (_BOOL, "state and chosen step are right and the rejected one is wrong, by the gold calls alone"),
    "chosen_logprob": (_FLOAT, "the policy's log-probability of the chosen step, in nats"),
    "rejected_logprob": (_FLOAT, "the same of the rejected step"),
    "parts_at": (_INT, "tokens that the two steps have in common at their beginning; null if not proved"),
    "fault_first": (_INT, "the rejected step's first token at fault; null if not proved"),
    "fault_last": (_INT, "its last one, with which the response can no longer become right"),
}


class Described(NamedTuple):
    """A table: what one row is, its columns' types and meanings, and which of its rows SQL sees (all by default).

    Where that is a choice, SQL sees the whole table as `all_NAME`.
    """

    row: str
    columns: dict[str, tuple[pa.DataType, str]]
    seen: str = ""

    def schema(self) -> pa.Schema:
        """The Arrow schema, without the words."""
        return pa.schema({name: kind for name, (kind, _) in self.columns.items()})


TABLES = {
    "samples": Described(
        "an assistant turn of a data set, or a variant of one",
        {
            "sample_id": (_TEXT, "16 hex digits of the SHA-256 over messages, tools and target"),
            "source": (
                _TEXT,
                "data set, such as `toolace`, `bfcl:simple`, or the file's name; `abstain:` before it marks a variant",
            ),
            "source_id": (
                _TEXT,
                "the data set's own id of the item, with the turn's number where it has several; a variant's is its "
                "sample's",
            ),
            "split": (_TEXT, "`train`; `validation` and `test` for what may never be trained on"),
            "messages": (_TEXT, "JSON: what came before the turn, `[{role, content}]`"),
            "tools": (_TEXT, "JSON: the functions on offer, `[{name, description, parameters}]`"),
            "target": (_TEXT, "the gold response as text"),
            "calls": (_TEXT, "JSON: the gold calls, `[{name, arguments}]`; empty where it is plain text"),
            "accepted": (_TEXT, "JSON: what each gold call may be, `[{name, arguments, optional}]`; may be empty"),
            "difficulty": (_TEXT, "`easy`, `medium` or `hard` (paper 3.1)"),
            "a": (_INT, "functions on offer (paper 3.1)"),
            "b": (_INT, "characters of the functions as canonical JSON (paper 3.1)"),
            "c": (_INT, "calls in the gold response (paper 3.1)"),
        },
    ),
    "rejects": Described(
        "something set aside: a bad input row, or a sample, pair or question that does not fit",
        {
            "stage": (_TEXT, "what set it aside, such as `import`, `warmup`, `perplexity`, `mine`, `borrow`"),
            "source": (_TEXT, "data set or benchmark"),
            "file": (_TEXT, "where it came from: file, source id or category"),
            "line": (_LONG, "line of the file, or position in the category; 0 where there is none"),
            "field": (_TEXT, "which part is wrong, or the id of what does not fit"),
            "reason": (_TEXT, "what was expected, or how long it is"),
        },
    ),
    "perplexity": Described(
        "a sample under a policy (Eq. 4)",
        {
            "sample_id": _SAMPLE,
            "round": _ROUND,
            "policy": _POLICY,
            "n_tokens": (_INT, "tokens of the gold response, end-of-turn included"),
            "mean_nll": (_FLOAT, "mean negative log-probability of its tokens, in nats"),
            "perplexity": (_FLOAT, "exp of that"),
        },
    ),
    "pass_rates": Described(
        "how often a sample was answered right when whole responses were drawn (`replay.select: pass-rate`)",
        {
            "sample_id": _SAMPLE,
            "round": _ROUND,
            "policy": _POLICY,
            "draws": (_INT, "whole responses drawn"),
            "right_draws": (_INT, "of these, right; one cut off at its longest is not"),
        },
    ),
    "fragments": Described(
        "a step of a sample's right response as a decision: at this right prefix, does the policy know what comes next",
        {
            "sample_id": _SAMPLE,
            "round": _ROUND,
            "policy": _POLICY,
            "tree_id": (_TEXT, "of the walk that drew here; null where only the perplexity pass came by"),
            "number": (_INT, "of the step in the response, from 0"),
            "prefix_text": (_TEXT, "the response so far, which is right"),
            "step_text": (_TEXT, "the right step: the policy's own where it is the most probable one, else gold's"),
            "step_ids": (_IDS, "its token ids; a sample's steps in turn are a right response"),
            "kind": (_TEXT, "`name`, `argument`, `end` (of a call or the response, nothing else) or `prose`"),
            "function": (_TEXT, "the call's function; null in prose and at the response's end"),
            "parameter": (_TEXT, "the argument's parameter; null for the other kinds"),
            "logprob": (_FLOAT, "the policy's log-probability of the right step, in nats"),
            "probability": (
                _FLOAT,
                "of being right: the sum over the right steps that are known; in prose the share of the finished draws",
            ),
            "draws": (_INT, "of the next step; 0 where the policy does not doubt or was not asked"),
            "right_draws": (_INT, "of these, proved right; the others are wrong or unfinished"),
            "wrong_text": (_TEXT, "the most probable wrong step that is known; null where there is none"),
            "wrong_probability": (_FLOAT, "its probability"),
            "error_class": (_TEXT, "what it breaks, by the paper's classes (A.1)"),
        },
        # Of a sample that was walked along, the walk's rows, which know more than those of the perplexity pass.
        "QUALIFY tree_id IS NOT NULL OR count(tree_id) OVER (PARTITION BY sample_id, round, policy) = 0",
    ),
    "trees": Described(
        "a searched sample; its nodes and pairs are visible with it or not at all",
        {
            "tree_id": (_TEXT, "16 hex digits over settings, policy, sample, round and kind of search"),
            "sample_id": _SAMPLE,
            "round": _ROUND,
            "policy": _POLICY,
            "config_hash": (_TEXT, "of the settings that the search depends on"),
            "search": (_TEXT, "`mcts`, `walk`, `sample` or `best-of-n`"),
            "seed": (_LONG, "the run's"),
            "nodes": (_INT, "rows in `nodes`, the root included"),
            "pairs": (_INT, "rows in `pairs`"),
            "proved": (_INT, "of these, proved"),
            "requests": (_INT, "asked of the policy"),
            "tokens_prefilled": (_LONG, "prompt tokens computed"),
            "tokens_reused": (_LONG, "prompt tokens taken from a shared prefix"),
            "tokens_decoded": (_LONG, "tokens drawn"),
            "tokens_judged": (_LONG, "tokens computed for the self-evaluation"),
            "seconds": (_FLOAT, "from its beginning to its end, beside other trees"),
            "dropped_delta_q": (_INT, "candidate pairs below `pairs.min_delta_q`"),
            "dropped_similarity": (_INT, "of the others, those above `pairs.max_similarity`"),
            "dropped_q_chosen": (_INT, "of the others, those below `pairs.min_q_chosen`"),
            "dropped_unproved": (_INT, "of the others, those not proved, under `pairs.proved`"),
        },
    ),
    "nodes": Described(
        "a prefix of the response, reached by a step from its parent",
        {
            "tree_id": _TREE,
            "path": (_TEXT, "child indices from the root, joined by dots; the root's is empty"),
            "depth": (_INT, "steps from the root"),
            "step_text": (_TEXT, "the step that leads here"),
            "step_ids": (_IDS, "its token ids; the text is derived from them"),
            "logprob": (_FLOAT, "the policy's log-probability of the step, in nats"),
            "prior": (_FLOAT, "p(a|s) of Eq. 5: that probability, normalised over the siblings"),
            "visits": (_INT, "N: roll-outs through this state"),
            "q": (_FLOAT, "Q of the step (Eq. 9)"),
            "v": (_FLOAT, "V of the state (Eq. 8)"),
            "reward": (_FLOAT, "r(s, a): R here minus R of the parent"),
            "outcome": (_FLOAT, "O (Eq. 6): do the calls match the gold ones"),
            "self_eval": (_FLOAT, "C (Eq. 7); null where the judge is not asked"),
            "terminal": (_BOOL, "nothing follows"),
        },
    ),
    "pairs": Described(
        "a better and a worse step from a state, if it passed the filters (B.1)",
        _PAIR,
    ),
    "borrowed_pairs": Described(
        "a pair that another run found and published, taken over to train on (`itool train preference --pairs`)",
        {
            "origin": (_TEXT, "the data set that it came from, as it was named: `hf:USER/NAME`, or a folder"),
            "revision": (_TEXT, "of the data set: the Hub's commit; of a folder, a hash of its shards"),
            "run": (_TEXT, "that found it: the hash of the settings of its search (`trees.config_hash`)"),
            **_PAIR,
        },
    ),
    "training": Described(
        "an update of a training, or a validation",
        {
            "round": (_INT, "of the loop; the warm-up's is 0"),
            "policy": (_TEXT, "that the training started from"),
            "objective": (_TEXT, "the loss; of the warm-up `sft-easy`, `sft-medium`, `sft-hard` or `sft-mixed`"),
            "split": (_TEXT, "`train` or `validation`"),
            "update": (_INT, "updates done, this one included"),
            "epoch": (_FLOAT, "passes over the pairs done"),
            "loss": (_FLOAT, "mean over the pairs"),
            "chosen_logprob": (_FLOAT, "mean over the pairs of the chosen step's mean log-probability a token"),
            "rejected_logprob": (_FLOAT, "the same of the rejected step"),
            "margin": (_FLOAT, "mean difference of what the loss takes as rewards"),
            "accuracy": (_FLOAT, "share of pairs with a margin above 0"),
            "learning_rate": (_FLOAT, "null for a validation"),
            "gradient_norm": (_FLOAT, "null for a validation"),
            "pairs": (_INT, "in this update"),
            "tokens": (_LONG, "that went through the model"),
            "padding": (_LONG, "of these only to fill rows"),
            "seconds": (_FLOAT, "that it took"),
        },
    ),
    "decisions": Described(
        "a policy's greedy next step at a right prefix of a held-out sample's gold response (fragment accuracy)",
        {
            "policy": _POLICY,
            "sample_id": _SAMPLE,
            "split": (_TEXT, "the sample's: `validation`, `test` or `train`"),
            "number": (_INT, "of the step in the response, from 0"),
            "prefix_text": (_TEXT, "the response so far"),
            "step_text": (_TEXT, "gold's next step"),
            "kind": (_TEXT, "`name`, `argument`, `end` or `prose`"),
            "function": (_TEXT, "the call's function; null in prose and at the response's end"),
            "parameter": (_TEXT, "the argument's parameter; null for the other kinds"),
            "probability": (_FLOAT, "of gold's step under the policy"),
            "right": (_BOOL, "the greedy step is right: gold's, or another that the gold calls accept"),
            "wrong_text": (_TEXT, "the greedy step where it is wrong; null where it is not finished in time, too"),
            "error_class": (_TEXT, "what that breaks (A.1); `Other` where it is not finished in time"),
        },
    ),
    "predictions": Described(
        "a policy's answer to a benchmark's item, and its verdict",
        {
            "benchmark": (_TEXT, "such as `bfcl-v3`, `apibank`; of the run's own samples `validation`, `test:SOURCE`"),
            "policy": _POLICY,
            "category": (_TEXT, "of the benchmark"),
            "item": (_TEXT, "the benchmark's id; a validation sample's"),
            "position": (_INT, "in the category, because an id can stand for two items"),
            "trial": (_INT, "which try at the item, from 0; null in runs from before there were several"),
            "output": (_TEXT, "the reply; of several turns, or called natively, JSON: a list (turn) of lists (step)"),
            "calls": (_TEXT, "JSON: the calls of all replies; null where the output does not decode"),
            "valid": (_BOOL, "right; null for a conversation that fills a memory (`…_prereq`)"),
            "error_type": (_TEXT, "the official checker's name of the first fault"),
            "error_class": (_TEXT, "the paper's class of it (A.1)"),
            "message": (_TEXT, "the checker's words"),
            "verdict": (_TEXT, "JSON: all faults, attempts and the note"),
            "tokens_prompt": (_INT, "prompt tokens of all replies"),
            "tokens_output": (_INT, "tokens of all replies"),
            "finish": (_TEXT, "how the last reply ended: `stop`, `length`, or `context` where the prompt fills it"),
            "seconds": (_FLOAT, "its share of the time"),
            "protocol": (_TEXT, "how it was asked (`protocols`); null in runs from before these were kept"),
        },
    ),
    "protocols": Described(
        "a way in which items were asked: scores of two are no comparison",
        {
            "protocol": (_TEXT, "12 hex digits of the SHA-256 over the others"),
            "data": (_TEXT, "where the items come from, with its version or hash"),
            "prompt": (_TEXT, "who writes it and how functions are shown"),
            "template": (_TEXT, "the chat template, by its hash and settings"),
            "dialect": (_TEXT, "how calls are read from a reply"),
            "system": (_TEXT, "whose system text the prompt has"),
            "decoding": (_TEXT, "how replies are generated"),
            "history": (_TEXT, "what a conversation keeps"),
        },
    ),
}  # fmt: skip

LOG_TABLE = Described(
    "a commit: what made rows visible, in all tables at once",
    {
        "version": (_LONG, "the number that `--as-of` takes; the first is 0"),
        "time": (pa.timestamp("us", tz="UTC"), "when, in UTC"),
        "operation": (_TEXT, "what did it, such as `import` or `mine`"),
        "rows": (_TEXT, "JSON: table -> rows added"),
        "table_versions": (_TEXT, "JSON: table -> Delta version this commit made visible"),
        "info": (_TEXT, "JSON: whatever the operation records of itself"),
    },
)

SCHEMAS: dict[str, pa.Schema] = {name: table.schema() for name, table in TABLES.items()}
LOG_SCHEMA = LOG_TABLE.schema()
