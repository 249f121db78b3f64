"""The data card of a published run: metadata for the Hub, and a body made from what the run recorded.

Left out: the data (`shards.py`), and what the model card has too (`card_text.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from itool_data.config import Config
from itool_data.publish.card_text import CITATION, block, code, licence_field, licence_section, score_table
from itool_data.publish.licences import Licensed, base_model, sources
from itool_data.publish.shards import CONFIGS, DEFAULT, Shard
from itool_data.publish.texts import Texts
from itool_data.run import Run
from itool_data.store.sql import query

SIZES = {1e3: "n<1K", 1e4: "1K<n<10K", 1e5: "10K<n<100K", 1e6: "100K<n<1M", 1e7: "1M<n<10M", 1e8: "10M<n<100M"}
WHAT = {
    "pairs": "step pairs: `prompt`, `chosen`, `rejected`, `tools`",
    "steps": "the same pairs as token ids and as the text of the steps, with Q of both",
    "trees": "the searches, one a row, with all their nodes",
    "scores": "benchmark scores of every policy, with n, 95 % interval and formula",
    "sft_easy": "training samples, easy (paper 3.1): `prompt`, `completion`, `tools`",
    "sft_medium": "training samples, medium",
    "sft_hard": "training samples, hard",
}
TREES = """
    SELECT round, policy, search, count(*) AS trees, sum(pairs) AS pairs, sum(proved) AS proved,
           sum(dropped_delta_q) AS delta_q, sum(dropped_similarity) AS similarity,
           sum(dropped_q_chosen) AS q_chosen, sum(tokens_decoded) AS tokens
    FROM trees WHERE round <= ? GROUP BY ALL ORDER BY ALL
"""
CLASSES = """
    SELECT error_class, count(*) AS pairs, avg(q_chosen - q_rejected) AS delta_q,
           count_if(chosen_terminal AND rejected_terminal) AS whole
    FROM pairs SEMI JOIN (SELECT sample_id FROM samples WHERE split = 'train') USING (sample_id)
    WHERE round <= ? GROUP BY ALL ORDER BY pairs DESC, error_class
"""
LONGEST_EXAMPLE = 600  # characters of a question and of a step that a reader takes in at a glance


def dataset_card(
    run: Run,
    as_of: int | None,
    round_: int,
    repo_id: str,
    paths: Mapping[str, Shard],
    scores: Sequence[Mapping[str, Any]],
    licence: str | None,
    texts: Texts,
) -> str:
    """The README of the data set as it is after a round.

    Args:
        run: the run.
        as_of: the commit whose state is described; None: the newest.
        round_: the newest round that is in it.
        repo_id: its name, for the examples.
        paths: its shards by their paths.
        scores: rows of the config `scores`.
        licence: the Hub's identifier, instead of those of the sources and the base model.
        texts: how prompts and responses are written.
    """
    made_from = [*sources(run), base_model(run.config.model)]
    trees = query(run.store, TREES, as_of, [round_]).to_pylist()
    classes = query(run.store, CLASSES, as_of, [round_]).to_pylist()
    seen = [row for row in scores if row["round"] <= round_]
    parts = [
        f"---\n{_metadata(repo_id, paths, made_from, licence)}\n---",
        _opening(run.config, trees, repo_id, made_from[-1]),
        _contents(paths, repo_id),
        _form(run.config, texts),
        _training(classes),
        _numbers(trees, classes),
        _example(run, as_of, round_),
        score_table(seen),
        _limits(run.config),
        licence_section(made_from, licence),
        CITATION,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _metadata(repo_id: str, paths: Mapping[str, Shard], made_from: Sequence[Licensed], licence: str | None) -> str:
    from datasets import DatasetInfo, Features
    from datasets.info import DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from huggingface_hub import DatasetCardData

    by_config = {name: [s for s in paths.values() if s.config == name] for name in CONFIGS}
    by_config = {name: shards for name, shards in by_config.items() if shards}
    rows = {name: sum(s.rows for s in shards) for name, shards in by_config.items()}
    card = DatasetCardData(
        pretty_name=repo_id.rpartition("/")[2],
        license=licence or licence_field(made_from),
        task_categories=["text-generation"],
        annotations_creators=["machine-generated"],
        source_datasets=[part.hub_id for part in made_from[:-1] if part.hub_id] or None,
        size_categories=[next(size for most, size in SIZES.items() if rows[DEFAULT] < most)],
        tags=["tool-use", "function-calling", "preference", "dpo", "simpo", "mcts", "trl", "itool", "arxiv:2501.09766"],
        configs=[
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": f"data/{name}/train-*"}],
                **({"default": True} if name == DEFAULT else {}),
            }
            for name in by_config
        ],
    )
    infos = DatasetInfosDict()
    for name, shards in by_config.items():
        nbytes = sum(s.nbytes for s in shards)
        splits = SplitDict()
        splits.add(SplitInfo("train", num_bytes=nbytes, num_examples=rows[name]))
        infos[name] = DatasetInfo(
            features=Features.from_arrow_schema(shards[0].schema),
            splits=splits,
            download_size=sum(s.file.stat().st_size for s in shards),
            dataset_size=nbytes,
        )
    infos.to_dataset_card_data(card)
    return card.to_yaml()


def _opening(config: Config, trees: Sequence[Mapping[str, Any]], repo_id: str, base: Licensed) -> str:
    ways = "\n".join(f"- {_search(config, name)}" for name in sorted({tree["search"] for tree in trees}))
    replay, proved = config.replay, ", or it is not proved" if config.pairs.proved else ""
    return f"""# {code(repo_id.rpartition("/")[2])}

Step-level preference pairs for tool use (function calling), found in the responses of {code(base.name)}.
Made with itool, an implementation of [iTool](https://arxiv.org/abs/2501.09766). A *step* is a function's name, one
argument, or the end of a call; a *pair* is a better and a worse step after the same prefix of a response. Where its
column `proved` says so, the gold calls alone prove it: the prefix and the better step can still become a right
response, and the worse step cannot.

## How it was made

In each round, {replay.fraction:.3g} of the training samples are scored by the policy, and the first
{replay.hardest:.3g} of those by {replay.select} are searched (seed {config.seed}):

{ways}

The policy is then trained on the round's pairs ({config.preference.loss}), and the next round searches with it. Hash of
the settings: `{config.hash()}`.

Filters: a pair is dropped if the difference of Q is below {config.pairs.min_delta_q:g}, the two steps are more alike
than {config.pairs.max_similarity:g}, Q of the chosen step is below {config.pairs.min_q_chosen:g}{proved}, in
this order."""


def _search(config: Config, name: str) -> str:
    """How a kind of search came to its pairs, with the settings that it depends on."""
    mcts, reward, walk = config.mcts, config.reward, config.walk
    if name == "walk":
        return (
            f"`walk`, along a right response: where a right step's probability is below {walk.doubt:g}, {walk.width} "
            f"draws of that step alone at temperature {walk.temperature:g}; the most probable right step against at "
            f"most {walk.wrong} wrong ones. A walk estimates no values: Q is 1 for a right step and -1 for a wrong one."
        )
    outcome = {
        "terminal": "+1 for a response whose calls match the gold ones, -1 for one whose calls do not",
        "prefix": "how far a response's calls agree with the gold ones, from -1 to 1",
    }[reward.outcome]
    if name == "sample":
        return f"`sample`, the ablation without search: the most against the least probable of {mcts.draws} responses."
    if name == "best-of-n":
        return f"`best-of-n`: the best against the worst of whole responses, until {mcts.budget} tokens; by {outcome}."
    judged = f", plus {reward.weight:g} times the self-evaluation of Eq. 7" if reward.weight else ""
    return (
        f"`mcts`, Monte Carlo tree search, a tree a sample; the best against the worst step of a state by their action "
        f"values Q: depth {mcts.depth}, width {mcts.width}, {mcts.iterations} iterations of {mcts.simulation} "
        f"expansions, c {mcts.c:g}, temperature {mcts.temperature:g}, γ {mcts.gamma:g}, at most {mcts.max_tokens} "
        f"tokens a response. The reward is {outcome}{judged}."
    )


def _contents(paths: Mapping[str, Shard], repo_id: str) -> str:
    lines = ["## What is in it", "", "| config | rows | files | what |", "|---|---|---|---|"]
    for name in CONFIGS:
        shards = [shard for shard in paths.values() if shard.config == name]
        if shards:
            lines.append(f"| `{name}` | {sum(s.rows for s in shards):,} | {len(shards)} | {WHAT[name]} |")
    usage = f"""
```python
from datasets import load_dataset

pairs = load_dataset("{repo_id}", split="train")
steps = load_dataset("{repo_id}", "steps", split="train")
```

A tag a round: `revision="round-1"` loads what there was then. `sample_id` and `tree_id` join the configs. No sample of
a held-out split is in any of them."""
    return "\n".join([*lines, usage])


def _form(config: Config, texts: Texts) -> str:
    """In which form texts and token ids are, which the columns `form`, `dialect` and `template` say of each row."""
    if not texts.template:
        return f"""## The form

itool's own: calls are written {code("[name(argument=value)]")}. `pairs` loads in TRL as it is. `prompt` is the
conversation as the policy saw it: the functions stand in its system message, where trainers without a place for tools
(TRL's SimPO and ORPO) and templates that show none find them. `tools` holds the same functions as JSON text, which
TRL's DPO and SFT trainers hand to the chat template; drop the column (`pairs.remove_columns("tools")`) for a template
that shows them, or the functions appear twice."""
    settings, dialect = config.model, code(texts.name.dialect)
    given = ", ".join(f"{key}={value}" for key, value in settings.template_kwargs.items())
    kwargs = f", was given {code(given)}" if given else ""
    left_out = f"\n\n{len(texts.refused):,} samples that the template cannot say are left out." if texts.refused else ""
    return f"""## The form

The model's own. `prompt` is text, not a conversation: what the chat template {code(texts.name.template or "")} made of
messages and functions, up to where the response begins. The template is in `chat_template.jinja`{kwargs} and writes
{code(settings.date)} where it writes a date. `chosen`, `rejected` and `completion` are what comes behind it, in the
dialect {dialect}, with markers of calls and ends of turn. What the tokenizer itself puts before any text is not in
`prompt`: tokenise it with special tokens, as TRL does. `tools` are the functions as JSON text, and in the `sft`
configs `conversation` is the messages with the answer, for another model's template.{left_out}"""


def _training(classes: Sequence[Mapping[str, Any]]) -> str:
    whole, n = sum(c["whole"] for c in classes), sum(c["pairs"] for c in classes)
    return f"""## Training on it

**A pair is a step, and general trainers do not know that.** `chosen` and `rejected` are the response up to and
including the step. A general trainer puts an end of turn behind each of them. For {whole:,} of the
{n:,} pairs that is right, because both steps end their response; for the others it teaches the model to stop
in the middle of a call. So, in TRL:

```python
pairs = pairs.filter(lambda pair: pair["chosen_terminal"] and pair["rejected_terminal"])
```

The exact form is `steps`, in the base model's token ids: `prompt_ids` is everything before the step, the response so
far included, and carries no loss; `chosen_ids` and `rejected_ids` are the tokens that the policy drew, and nothing is
added to them. `itool train preference` trains on that."""


def _numbers(trees: Sequence[Mapping[str, Any]], classes: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "## Numbers", "",
        "| round | policy | search | samples | pairs | proved | dropped: ΔQ | similarity | Q of the chosen | "
        "tokens decoded |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {t['round']} | {code(t['policy'])} | {t['search']} | {t['trees']:,} | {t['pairs']:,} | "
        f"{'' if t['proved'] is None else format(t['proved'], ',')} | {t['delta_q']:,} | "
        f"{t['similarity']:,} | {t['q_chosen']:,} | {t['tokens']:,} |"
        for t in trees
    ]
    lines += ["", "| what the rejected step breaks | pairs | mean ΔQ |", "|---|---|---|"]
    lines += [f"| {code(c['error_class'])} | {c['pairs']:,} | {_number(c['delta_q'])} |" for c in classes]
    lines += ["", "`Other`: the step breaks nothing itself, and led to wrong responses more often."]
    return "\n".join(lines)


def _example(run: Run, as_of: int | None, round_: int) -> str:
    """The pair with the largest difference of Q whose texts are short enough to read."""
    rows = query(
        run.store,
        """SELECT messages->-1->>'role' AS asked_by, messages->-1->>'content' AS question, prefix_text, chosen_text,
                  rejected_text, q_chosen, q_rejected, pair_id, error_class
           FROM pairs JOIN samples USING (sample_id)
           WHERE round <= $1 AND split = 'train' AND length(question) <= $2
                 AND length(prefix_text || chosen_text || rejected_text) <= $2
           ORDER BY q_chosen - q_rejected DESC, pair_id LIMIT 1""",
        as_of,
        [round_, LONGEST_EXAMPLE],
    ).to_pylist()
    if not rows:
        return ""
    pair = rows[0]
    text = (
        f"{pair['asked_by']:<9} {pair['question']}\n"
        f"prefix    {pair['prefix_text']}\n"
        f"chosen    {pair['chosen_text']}    Q {_number(pair['q_chosen'])}\n"
        f"rejected  {pair['rejected_text']}    Q {_number(pair['q_rejected'])}"
    )
    return f"## An example\n\n{code(pair['pair_id'])}, {code(pair['error_class'])}:\n\n{block(text)}"


def _limits(config: Config) -> str:
    return f"""## Limits

- Made by a model and checked by a program against gold calls; no person has read the pairs.
- The tree search's Q is estimated from {config.mcts.width} draws an expansion: rough where a step was rarely visited.
- A step that matches no gold value counts as wrong, also where another value would do as well.
- The steps are what this base model gets wrong; another model's weak spots are elsewhere.
- What the data sets and the model wrote is passed on unchanged, and may be wrong, biased or personal."""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
