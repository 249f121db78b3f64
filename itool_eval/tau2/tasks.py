"""Which tasks there are: the official splits and kinds of problem (docs/tau2.md §1).

Names and sizes are written down here, because a score is computed without the data; a test holds them against it.
"""

SOLO = "tau2-telecom-solo"
# The split that each benchmark asks; `base` is the official tool's where none is named.
SPLITS = {SOLO: "base", **{f"{SOLO}-{split}": split for split in ("small", "full", "train", "test")}}
# What a task's id begins with, in brackets.
CATEGORIES = ("service_issue", "mobile_data_issue", "mms_issue")
SIZES = {
    "base": (29, 36, 49),
    "small": (6, 8, 6),
    "full": (47, 254, 1984),
    "train": (14, 27, 33),
    "test": (15, 9, 16),
}


def category_of(task_id: str) -> str:
    """The kind of problem that a task is about; of what is no task's id, nothing that there is."""
    return task_id.partition("]")[0][1:]
