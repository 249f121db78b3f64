"""A tree's pairs from one forward pass against one pair at a time: the same numbers, from fewer tokens."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lora import gradients, tiny_lora

from bench.toy_loop import tiny_model
from itool_train.collate import Batch, pair_batches, step_logprobs
from itool_train.losses import simpo
from itool_train.step_pairs import StepPair
from itool_train.tree_attention import BLOCK, FLEX, TreeLayout
from itool_train.tree_batch import Trie, tree_batches

TOKEN = st.integers(3, 12)  # few, so that steps share beginnings
STEP = st.lists(TOKEN, min_size=1, max_size=5).map(tuple)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tiny_model(tmp_path_factory.mktemp("model"))
    return {kind: tiny_lora(folder, kind) for kind in ("none", "nf4")}


@pytest.fixture(scope="module")
def flexible(tmp_path_factory):
    """One model with either attention."""
    folder = tiny_model(tmp_path_factory.mktemp("long"), context=1024)
    dense, flex = tiny_lora(folder), tiny_lora(folder)
    flex.get_base_model().set_attn_implementation(FLEX)
    return dense, flex


@st.composite
def trees(draw) -> list[StepPair]:
    """Pairs as a search leaves them: below one prompt, some further down along chosen or rejected steps."""
    pairs: list[StepPair] = []
    for t in range(draw(st.integers(1, 2))):
        prefixes = [tuple(draw(st.lists(TOKEN, min_size=1, max_size=12)))]
        for _ in range(draw(st.integers(1, 5))):
            prefix = draw(st.sampled_from(prefixes))
            chosen = draw(STEP)
            # Equal steps make no pair, and leave of the gradient what rounding makes of two equal halves.
            rejected = draw(STEP.filter(lambda step, chosen=chosen: step != chosen))
            pairs.append(StepPair(f"{t}/{len(pairs)}", str(t), prefix, chosen, rejected))
            prefixes += [prefix + chosen, prefix + rejected]
    return pairs


def learn(model, batches: list[Batch]):
    """Log-probabilities, losses and the gradient of the mean loss over batches."""
    model.zero_grad()
    n = sum(batch.n_pairs for batch in batches)
    steps, losses = [], []
    for batch in batches:
        logprobs = step_logprobs(model, batch)
        loss = simpo(logprobs, 2.5, 0.5).loss
        (loss.sum() / n).backward()
        steps += [logprobs.chosen.detach(), logprobs.rejected.detach()]
        losses.append(loss.detach())
    chosen, rejected = torch.cat(steps[0::2]), torch.cat(steps[1::2])
    return torch.stack([chosen, rejected]), torch.cat(losses), gradients(model)


@pytest.mark.parametrize("kind", ["none", "nf4"])
@settings(max_examples=25, deadline=None)
@given(pairs=trees(), max_tokens=st.sampled_from([1, 40, 1000]))
def test_losses_and_gradients_are_those_of_one_pair_at_a_time(models, kind, pairs, max_tokens):
    _, expected, gradient = learn(models[kind], pair_batches(pairs, 1))
    together = tree_batches(pairs, max_tokens, together=True)
    for batches in (tree_batches(pairs, max_tokens), together, pair_batches(pairs, max_tokens)):
        _, losses, found = learn(models[kind], batches)
        assert gradient.abs().max() > 0
        assert torch.allclose(losses, expected, rtol=1e-5, atol=1e-5)
        assert (found - gradient).abs().max() <= 1e-5 * max(1.0, float(gradient.abs().max()))


@given(pairs=trees())
def test_a_trie_holds_each_prefix_once(pairs):
    sequences = [p.prompt + step[:-1] for p in pairs for step in (p.chosen, p.rejected)]
    prefixes = {s[: i + 1] for s in sequences for i in range(len(s))}
    trie = Trie()
    for pair in pairs:
        trie.add(pair)
    batch = trie.batch()
    assert batch.input_ids.shape == (1, len(prefixes))
    # What a column sees is a token's own path, and reads as one of the prefixes.
    columns, tokens = range(len(prefixes)), batch.input_ids[0].tolist()
    seen = [tuple(tokens[k] for k in columns if k <= q < batch.ends[k]) for q in columns]
    assert set(seen) == prefixes
    assert batch.position_ids[0].tolist() == [len(path) - 1 for path in seen]
    # The trunk is as long as it can be: a sequence, after which a token branches off.
    trunk = TreeLayout(batch.ends).trunk
    assert seen[:trunk] == [seen[trunk - 1][: i + 1] for i in range(trunk)]
    assert trunk == len(seen) or len(seen[trunk]) <= trunk


@pytest.mark.parametrize("together", [False, True])
def test_flex_attention_gives_the_same_losses_without_a_mask(flexible, together):
    """Over several blocks of 128: trees of long prompts, deep and broad, and a single short one."""
    draw = random.Random(1)

    def tokens(n):
        return tuple(draw.randrange(3, 120) for _ in range(n))

    pairs = [StepPair("short", "s", tokens(3), tokens(2), tokens(1))]
    for tree in "ab":
        prompt = tokens(140)
        for depth in range(4):
            chosen, rejected = tokens(9), tokens(30)
            pairs.append(StepPair(f"{tree}{depth}", tree, prompt, chosen, rejected))
            prompt += chosen
    dense, flex = flexible
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for batch in tree_batches(pairs, 1000, together=together):
            expected, found = (simpo(step_logprobs(model, batch), 2.5, 0.5).loss for model in (dense, flex))
            assert torch.allclose(found, expected, rtol=0, atol=1e-5)
            mask = TreeLayout(batch.ends).block_mask(batch.ends.device)
            assert torch.equal(mask.to_dense()[0, 0] > 0, blocks_seen(batch.ends))


def blocks_seen(ends):
    """Which blocks of keys some query of a block sees, from the whole mask."""
    columns = torch.arange(len(ends))
    sees = (columns <= columns[:, None]) & (columns[:, None] < ends)
    wide = torch.nn.functional.pad(sees, (0, -len(ends) % BLOCK, 0, -len(ends) % BLOCK))
    n = len(wide) // BLOCK
    return wide.view(n, BLOCK, n, BLOCK).any(3).any(1)


@given(pairs=trees(), max_tokens=st.integers(1, 60))
def test_batches_keep_the_order_and_the_limit(pairs, max_tokens):
    for lay_out in (tree_batches, pair_batches):
        batches = lay_out(pairs, max_tokens)
        assert all(b.n_pairs == 1 or b.input_ids.numel() <= max_tokens for b in batches)
        if lay_out is tree_batches:  # and no two samples are in one
            assert len(batches) >= len({p.sample_id for p in pairs})
            shared = tree_batches(pairs, max_tokens, together=True)
            assert len(shared) <= len(batches)
            assert all(b.n_pairs == 1 or b.input_ids.numel() <= max_tokens for b in shared)
        lengths = [length for b in batches for length in b.lengths.tolist()]
        assert lengths == [len(step) for p in pairs for step in (p.chosen, p.rejected)]


@given(pairs=trees())
def test_what_a_pair_would_add_is_never_said_too_small(pairs):
    trie = Trie()
    for pair in pairs:
        before, said = len(trie), trie.added(pair)
        trie.add(pair)
        assert len(trie) - before <= said


def test_log_probabilities_are_those_of_the_whole_sequences_logits(models):
    model = models["none"]
    pair = StepPair("p", "s", (5, 6, 7), (8, 9), (8, 10, 11))
    (batch,) = tree_batches([pair], 100)
    found = step_logprobs(model, batch)
    for step, logprob in ((pair.chosen, found.chosen), (pair.rejected, found.rejected)):
        ids = torch.tensor([[*pair.prompt, *step]])
        all_logprobs = model(input_ids=ids).logits.log_softmax(-1)[0]
        expected = sum(all_logprobs[len(pair.prompt) + i - 1, token] for i, token in enumerate(step))
        assert logprob.item() == pytest.approx(expected.item(), abs=1e-5)


def test_logits_are_computed_only_where_a_step_is_predicted(models):
    widths = []
    head = models["none"].get_output_embeddings()
    hook = head.register_forward_hook(lambda module, inputs, output: widths.append(output.shape[1]))
    prompt = tuple(range(3, 40))
    pairs = [StepPair("a", "s", prompt, (50, 51), (50, 52)), StepPair("b", "s", (*prompt, 50, 51), (60,), (61,))]
    for batch in tree_batches(pairs, 1000) + pair_batches(pairs, 1000):
        step_logprobs(models["none"], batch)
    hook.remove()
    # The tree: the prompt's last token, 50, and 51; the rows: the last two columns.
    assert widths == [3, 2]
