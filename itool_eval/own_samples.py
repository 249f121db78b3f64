"""A run's own samples as a benchmark: asked in the run's own prompt, right where the calls match the gold.

They are its validation samples, by which trainings are chosen, so that their scores say nothing of how good a policy
is, only which of two is better here; or the test samples of a data set that no benchmark is made of. The check is the
search's own (`itool_data.match`), and so are its error classes. Left out: which validation samples are asked
(`itool_data.run_samples`), and the choice.
"""

from collections.abc import Sequence

from itool_data.dialects import CallSyntaxError, parse
from itool_data.match import response_error
from itool_data.run import Run
from itool_data.sample import Sample, ToolCall
from itool_data.store.sql import query
from itool_eval.compare import Outcome
from itool_eval.errors import attempts_call
from itool_eval.scores import wilson
from itool_eval.summary import Score, Summary, tally
from itool_eval.verdicts import Fault, Note, Verdict

NAME = "validation"
TEST = "test:"  # how the name of a benchmark begins whose items are the run's test samples of a source
ERA = "this run's validation samples, by which its trainings are chosen: compare within the run only"
TEST_ERA = "this run's own test samples, in its own prompt: compare with nothing but the same"


def are(benchmark: str) -> bool:
    """Whether a benchmark's items are a run's own samples."""
    return benchmark == NAME or benchmark.startswith(TEST)


class SampleScorer:
    """Scores replies to samples.

    Attributes:
        categories: the samples' sources.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.categories = sorted({sample.source for sample in samples})
        self._samples = {sample.sample_id: sample for sample in samples}

    def copies(self, category: str, item_id: str) -> int:
        """How many samples have an id; 0: it is not known."""
        return int(item_id in self._samples)

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one reply to a known sample."""
        sample, text = self._samples[item_id], str(result)
        error = response_error(text, sample, "python")
        if error is None:
            return Verdict(item_id, category)
        note: Note = "" if attempts_call(text) else "no call attempted"
        return Verdict(item_id, category, (Fault(f"match:{error}", f"expected {sample.target}", note),))

    def calls(self, category: str, result: object) -> list[ToolCall] | None:
        """The calls that a reply makes; None if it cannot be read."""
        try:
            return parse(str(result))
        except CallSyntaxError:
            return None


def summarise(benchmark: str, verdicts: Sequence[Verdict]) -> Summary:
    """The share of right items of each source."""
    counts = tally(verdicts)
    shares = (Score(name, "correct / items", c.share, c.n, wilson(c)) for name, c in counts.items())
    return Summary(ERA if benchmark == NAME else TEST_ERA, tuple(shares), ())


def answered(run: Run, policy: str, samples: Sequence[Sample]) -> list[Outcome]:
    """What a policy made of those of the samples that it was asked."""
    sql = "SELECT category, item, valid, error_class FROM predictions WHERE benchmark = ? AND policy = ? ORDER BY item"
    asked = {sample.sample_id for sample in samples}
    rows = query(run.store, sql, None, [NAME, policy]).to_pylist()
    return [Outcome(r["category"], r["item"], r["valid"], r["error_class"]) for r in rows if r["item"] in asked]
