"""Which samples the warm-up trains on, by difficulty, as token ids (paper 3.1).

Left out: the training, and recording what is set aside (the caller does both).
"""

from itool_data.difficulty import difficulty
from itool_data.policy.base import derive_seed
from itool_data.prompt import Prompter, tokenise
from itool_data.rejects import not_fitting, of_sample
from itool_data.run import Run
from itool_data.run_samples import training_samples
from itool_data.sample import Reject


def warmup_stages(run: Run, prompter: Prompter) -> tuple[dict[str, list[tuple[list[int], list[int]]]], list[Reject]]:
    """Choose the warm-up's samples and sort them by difficulty, unless they are to be one mixed stage.

    Returns:
        (prompt ids, response ids) by stage, and what is set aside: what is too long, or cannot be said in the form.
    """
    settings, seed = run.config.warmup, run.config.seed
    samples = training_samples(run)
    ordered = sorted(samples, key=lambda s: derive_seed(seed, "warmup", s.sample_id))
    chosen = ordered[: settings.samples or max(1, round(settings.fraction * len(ordered)))]
    mixed = settings.order == "mixed"
    names = ("mixed",) if mixed else ("easy", "medium", "hard")
    stages: dict[str, list[tuple[list[int], list[int]]]] = {name: [] for name in names}
    said, refused = tokenise(prompter, chosen)
    rejects = [of_sample(sample, reason) for sample, reason in refused]
    for t in said:
        if len(t) > settings.max_tokens:
            rejects.append(not_fitting(t, settings.max_tokens))
        else:
            stages["mixed" if mixed else difficulty(t.sample)].append((t.prompt, t.response))
    return stages, rejects
