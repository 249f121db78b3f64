"""Every setting of a run: what it means, its default (the paper's), its bounds.

Defaults are the paper's (tables 6, 7 and 9); `configs/laptop.yaml` holds the embedded model's. Left out: Table 9
itself, which stands beside the losses (`itool_train.losses`), and reading settings (`config_file.py`).
"""

import datetime
import hashlib
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from itool_data.chat_template import DATE
from itool_data.kinds import Batching, DialectName, Engine, Loss, SearchKind, Select, SystemMessage
from itool_data.sample import JSON, canonical_json

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A group of settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(Section):
    """The base model and how it is prompted."""

    name: str = Field("embedded", description="`embedded`, a folder, or a Hub name")
    revision: str = Field("main", description="Hub revision; ignored for `embedded` and folders")
    policy: Engine = Field(
        "auto",
        description="what runs the model; `openai`: a server that speaks OpenAI's protocol; `auto`: vllm on a GPU "
        "where it is installed, else transformers",
    )
    engine: dict[str, JSON] = Field(
        {},
        description="what else vLLM's engine takes, by its own names, such as {tensor_parallel_size: 2, "
        "gpu_memory_utilization: 0.8}",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: the GPU where there is one")
    rows: int = Field(
        0,
        ge=0,
        description="draws decoded at once; 0: 48 on a CPU, 64 on a server, 256 on a GPU or what fits its memory",
    )
    format: Literal["auto", "native", "own"] = Field(
        "auto",
        description="`native`: prompts and calls are what the tokenizer's chat template makes of them, as servers have "
        "them; `own`: functions in a system message of ours, calls as `[f(a=1)]`; `auto`: native where the template "
        "takes functions",
    )
    dialect: DialectName | None = Field(
        None, description="under `native`: what calls look like; null: whichever reads a call of the template's back"
    )
    chat_template: str = Field(
        "", description="a file, or one of TRL's templates such as qwen2_5; empty: the tokenizer's own"
    )
    template_kwargs: dict[str, JSON] = Field(
        {}, description="what else the chat template takes, such as {enable_thinking: false}"
    )
    date: str = Field(
        DATE.isoformat(), description="what a chat template that writes today's date writes instead, as YYYY-MM-DD"
    )
    system: SystemMessage = Field(
        "source",
        description="`source`: a data set's own system message is kept (in our own form after ours, or alone where it "
        "lists the functions and asks for such calls itself); `ours`: ours stands in its place; `none`: there is "
        "neither",
    )
    tools: Literal["signatures", "json"] = Field(
        "signatures", description="under `own`: how the prompt shows the functions"
    )
    base_url: str = Field("", description="the server under `policy: openai`, such as http://127.0.0.1:8000/v1")
    served_name: str = Field("", description="what the server calls the model; empty: as `name` says")
    timeout: float = Field(600.0, gt=0, description="seconds that a server may take to answer a request")
    patience: float = Field(300.0, ge=0, description="seconds that a request which a server failed is tried again")

    @field_validator("date", mode="before")
    @classmethod
    def _a_date(cls, value: object) -> str:
        """YAML reads a date as one."""
        try:
            return datetime.date.fromisoformat(str(value)).isoformat()
        except ValueError:
            raise PydanticCustomError("date", "must be a date such as 2024-07-26") from None

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        """Settings are stored and shown, so what may hold a key is refused without being repeated."""
        if not url:
            return url
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise PydanticCustomError("url", "must be a URL such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise PydanticCustomError(
                "url", "must hold no user, password or query; a key is read from OPENAI_API_KEY in the environment"
            )
        return url.rstrip("/")


class DataSettings(Section):
    """Which of the imported training samples are trained on and searched, and what is added to them."""

    pool: int = Field(0, ge=0, description="a random sample of so many of them, chosen by the seed; 0: all")
    only_calls: bool = Field(False, description="leave out those whose gold response is plain text")
    max_overlap: float = Field(
        1.0,
        gt=0,
        le=1,
        description="set aside those that are as like a validation or test sample (Jaccard's index of the question's "
        "character 5-grams); 1: none",
    )
    validation: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="about this share of a data set is set aside for validation when it is imported, with all samples "
        "of the same first question; BFCL has bfcl:SHARE instead",
    )
    abstain: float = Field(
        0.0,
        ge=0,
        le=1,
        description="for this share of those that begin a conversation with calls, add a variant without the needed "
        "functions, where calling nothing is right; 0: none",
    )


class ValidationSettings(Section):
    """Trainings are judged by asking: the adapter with the most validation items right is kept, or none."""

    items: int = Field(
        0,
        ge=0,
        description="at most so many of the run's validation samples are asked, before a training and of what it left; "
        "0: none, the paper's",
    )
    checkpoints: Positive = Field(2, description="evenly spaced points of a training that are asked, its end included")

    @property
    def candidates(self) -> int:
        """How many adapters a training leaves to choose from; 0: what it takes for its best itself."""
        return self.checkpoints if self.items else 0


class WalkSettings(Section):
    """The search along right responses (`loop.search: walk`)."""

    doubt: float = Field(0.9, gt=0, le=1, description="steps whose probability is below this are drawn anew")
    width: Positive = Field(4, description="draws of the next step where the policy doubts")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0: the most probable tokens")
    max_step_tokens: Positive = Field(
        32, description="a draw whose step is not finished by then, or by twice the length of gold's, proves nothing"
    )
    wrong: Positive = Field(1, description="at most so many wrong steps of a state give a pair, most probable first")
    ends: bool = Field(
        True, description="draw where the right response ends too, doubted or not, and set going on against ending"
    )


class WorkerSettings(Section):
    """Who generates and scores: how many copies of the policy work side by side."""

    count: Positive = Field(
        1, description="1: the policy is in this process; more: on Ray, one a GPU where there are GPUs"
    )
    address: str = Field("", description="of a Ray cluster to join, such as 10.0.0.1:6379; empty: this machine alone")


class TrainingSettings(Section):
    """What every training has: the warm-up and the preference training alike."""

    quantization: Literal["nf4", "none"] = Field("none", description="of the frozen base model while training")
    dtype: Literal["auto", "fp32", "bf16"] = Field("auto", description="to compute in; `auto`: bf16 on a GPU")
    attn_implementation: str = Field(
        "auto",
        description="`auto`: FlexAttention for trees on a GPU, else SDPA; `sdpa`, `flex_attention`; under `batching: "
        "pairs` whatever transformers has, such as flash_attention_2",
    )
    gradient_checkpointing: bool | None = Field(
        None, description="compute activations again for the gradient instead of keeping them; empty: on a GPU"
    )
    spread: bool = Field(
        False,
        description="lay the model over all GPUs, layer after layer, because it does not fit one; one process trains",
    )
    batching: Batching = Field(
        "tree", description="`tree`: samples are packed, what they share is computed once; `pairs`: padded rows"
    )
    micro_tokens: Positive = Field(
        4096,
        description="tokens a forward pass, if more than one sample is to fit; fewer where a GPU's memory is short",
    )
    validation: float = Field(
        0.0, ge=0, lt=1, description="share of the samples that only validates; the best adapter on it is kept"
    )
    rank: Positive = Field(16, description="LoRA rank, where there is no adapter to go on from")
    alpha: Positive = Field(32, description="LoRA alpha, where there is no adapter to go on from")
    max_tokens: Positive = Field(4096, description="what is longer is set aside, and counted")
    checkpoint_seconds: float = Field(60.0, ge=0, description="roughly how much training a kill may cost")
    report_to: list[str] = Field([], description="where else to log: transformers' names, such as tensorboard, wandb")


class WarmupSettings(TrainingSettings):
    """Easy-to-hard SFT (paper 3.1, Table 6)."""

    samples: int = Field(0, ge=0, description="train on at most so many samples, chosen by the seed; 0: on `fraction`")
    fraction: Fraction = Field(0.9, description="share of the training samples (paper 4.1: 90 %)")
    order: Literal["easy-to-hard", "mixed"] = Field(
        "easy-to-hard", description="`mixed`: one stage of all difficulties, for comparison"
    )
    epochs: Positive = Field(3, description="passes over each stage")
    batch: Positive = Field(64, description="about so many samples an update, over all processes")
    lr_easy: float = Field(5e-5, gt=0, description="learning rate of the easy stage")
    lr_medium: float = Field(2e-5, gt=0, description="learning rate of the medium stage")
    lr_hard: float = Field(1e-5, gt=0, description="learning rate of the hard stage")
    lr_mixed: float = Field(5e-5, gt=0, description="learning rate of the one stage of `order: mixed`")


class ReplaySettings(Section):
    """The replay buffer and what is taken from it (paper 3.2)."""

    fraction: Fraction = Field(0.5, description="random share of the training samples that is scored")
    hardest: Fraction = Field(0.1, description="share of the buffer that is searched, at most; first as `select` says")
    select: Select = Field(
        "perplexity",
        description="what is searched first. `perplexity`: the highest, of the gold response; `doubt`: the most wrong "
        "steps expected in it (nearly one for each sentence of prose: see `data.only_calls`); `pass-rate`: those that "
        "are sometimes right and sometimes wrong, rates near one half first, and no others",
    )
    draws: int = Field(
        4,
        ge=2,
        description="whole responses drawn of each sample of the buffer under `pass-rate`, at `walk.temperature` and "
        "of at most `mcts.max_tokens`",
    )


class MctsSettings(Section):
    """The search (paper Table 7)."""

    depth: Positive = Field(3, description="levels of the tree; the last action is the rest of the response")
    width: int = Field(3, ge=2, description="continuations drawn when a node is expanded")
    simulation: Positive = Field(2, description="expansions in a row, each from the best new child, in one iteration")
    iterations: Positive = Field(5, description="selections from the root")
    c: float = Field(1.0, ge=0, description="weight of exploration in Eq. 5")
    temperature: float = Field(1.5, gt=0, description="sampling temperature")
    gamma: float = Field(1.0, gt=0, le=1, description="discount in Eq. 9 (the paper gives none)")
    max_tokens: Positive = Field(512, description="upper bound on a response")
    draws: int = Field(4, ge=2, description="responses per sample under `--search sample` (paper 4.3.2)")
    budget: Positive = Field(
        1024, description="tokens per sample under `--search best-of-n`: it draws until so many are decoded"
    )


class RewardSettings(Section):
    """R = O + weight x C (Eq. 6)."""

    outcome: Literal["terminal", "prefix"] = Field(
        "terminal",
        description="`terminal`: the paper's, right or wrong at the end; `prefix`: how far the calls agree with the "
        "gold ones, before the end and in wrong endings too",
    )
    weight: float = Field(1.0, ge=0, description="weight of the self-evaluation C; 0: not asked, no tokens spent")
    judge: str = Field("policy", description="who judges: `policy`, or a model name or folder")
    draws: int = Field(0, ge=0, description="0: C's exact expectation; n: the mean of n sampled answers (paper: 4)")
    literal_order: bool = Field(False, description="Table 10's order of parts, which no prefix cache can serve")


class PairSettings(Section):
    """Which pairs are kept (paper B.1)."""

    max_similarity: float = Field(0.95, ge=0, le=1, description="steps more alike than this are dropped")
    min_delta_q: float = Field(0.1, ge=0, description="smallest difference of Q")
    min_q_chosen: float = Field(0.3, description="smallest Q of the chosen step")
    proved: bool = Field(
        False, description="keep only pairs whose state and chosen step are right and whose rejected step is wrong"
    )


class MineSettings(Section):
    """How many trees are under way, and how often they are written."""

    open_trees: int = Field(0, ge=0, description="trees searched at once; 0: enough for twice the policy's draws")
    commit_trees: Positive = Field(16, description="finished trees of each worker that are written together")
    commit_seconds: float = Field(20.0, gt=0, description="finished trees wait at most so long to be written")


class PreferenceSettings(TrainingSettings):
    """Preference training on step pairs (paper 3.2, Table 6, B.4); what is left empty is the loss's best of Table 9."""

    loss: Loss = Field(
        "simpo",
        description="the objective; `nll`: the likelihood of right steps alone, as `anchor_on` says, nothing rejected",
    )
    span: Literal["step", "fragment"] = Field(
        "step",
        description="tokens of a pair that the loss is over; `fragment`: from where the steps part to the rejected "
        "one's token that cannot be mended (proved pairs only)",
    )
    weighted: bool = Field(
        False, description="weight pairs by the probability of the rejected step, so that their sum is expected error"
    )
    epochs: Positive = Field(2, description="passes over the pairs")
    batch: Positive = Field(64, description="about so many pairs an update, over all processes")
    lr: float | None = Field(None, gt=0, description="learning rate")
    beta: float | None = Field(None, gt=0, description="β of SimPO and DPO")
    gamma: float | None = Field(None, ge=0, description="γ of SimPO: the margin of Eq. 11, not divided by β")
    tau: float | None = Field(None, gt=0, description="τ of IPO")
    lam: float | None = Field(None, ge=0, description="λ of ORPO")
    anchor: float = Field(0.0, ge=0, description="weight of a likelihood term beside the loss; the paper has none")
    anchor_on: Literal["chosen", "doubted", "response"] | None = Field(
        None,
        description="what that term, or `nll`, is over: the pairs' `chosen` steps; the `doubted` right steps "
        "(`walk.doubt`) and the responses' ends; the whole right `response`. Empty: `doubted` for nll, else `chosen`",
    )
    quantization: Literal["nf4", "none"] = Field("nf4", description="of the frozen base model while training")
    validation: float = Field(0.1, ge=0, lt=1, description="share of the samples whose pairs only validate")
    collapse: float = Field(
        2.0, ge=0, description="stop if chosen steps lose so many nats a token against the start; 0: never"
    )


class EvalSettings(Section):
    """How benchmarks are answered, and along how many samples decisions are asked for."""

    max_tokens: Positive = Field(4096, description="upper bound on an answer (BFCL's own: 4096)")
    trials: Positive = Field(1, description="tries at each task of tau2, for pass^k (published: 4); 1: one, greedily")
    temperature: float = Field(1.0, gt=0, description="at which several tries are drawn")
    fragments: int = Field(0, ge=0, description="`itool run` asks for the fragments of so many test samples; 0: none")


class LoopSettings(Section):
    """The whole method, as `itool run` does it."""

    sources: list[str] = Field(["toolace"], description="data sets, as `itool data import` takes them")
    samples: int = Field(0, ge=0, description="read so many of each data set; 0: all")
    warmup: bool = Field(True, description="false: the paper's ablation without warm-up")
    rounds: int = Field(3, ge=0, description="of perplexity, search and preference training (paper: best around 3)")
    search: SearchKind = Field(
        "mcts",
        description="`walk`: along right responses, where the policy doubts; `sample`: the paper's ablation without "
        "search; `best-of-n`: the best against the worst of whole responses, by their outcome",
    )
    benchmarks: list[str] = Field(
        ["bfcl-v3"],
        description="bfcl-v3, bfcl-v4, bfcl-v3-own-prompt, all with :validation for what bfcl:SHARE set "
        "aside; apibank:FOLDER, apibank-own-prompt:FOLDER; tau2-telecom-solo, also with -small, -full, -train, -test; "
        "test:SOURCE for the run's own test samples",
    )
    categories: list[str] = Field([], description="of BFCL; empty: all")
    items: int = Field(0, ge=0, description="a random sample of so many items of each benchmark; 0: all")
    processes: int = Field(0, ge=0, description="that train together; 0: one a GPU")


class Config(Section):
    """A run's settings."""

    seed: int = Field(42, description="every random choice derives from it")
    tables: str = Field(
        "",
        pattern=r"^([a-z0-9]+://[^@/]+/[^@]+)?$",
        description="where the tables are: empty for RUN/tables, or on an object store, such as s3://bucket/prefix",
    )
    loop: LoopSettings = LoopSettings()
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    validation: ValidationSettings = ValidationSettings()
    workers: WorkerSettings = WorkerSettings()
    warmup: WarmupSettings = WarmupSettings()
    replay: ReplaySettings = ReplaySettings()
    mcts: MctsSettings = MctsSettings()
    walk: WalkSettings = WalkSettings()
    reward: RewardSettings = RewardSettings()
    pairs: PairSettings = PairSettings()
    mine: MineSettings = MineSettings()
    preference: PreferenceSettings = PreferenceSettings()
    eval: EvalSettings = EvalSettings()

    def hash(self, *sections: str) -> str:
        """12 hex digits over the named sections (all of them when none is named) and the seed."""
        data = self.model_dump()
        chosen = {name: data[name] for name in ("seed", *(sections or tuple(data)))}
        return hashlib.sha256(canonical_json(chosen).encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The resolved settings as YAML."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)
