"""The config: one frozen tree, a section a stage. Each key is documented under its field; unknown keys are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A frozen section of the config that refuses unknown keys."""

    # a value that is refused may be a key
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


def section_in(annotation: object) -> type[Section] | None:
    """Return the section that is a key's type, also where the key may be null; None for any other type."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, Section)), None)


class TaskConfig(Section):
    """What the responses are, and how an answer is read."""

    preset: str | None = None
    """A benchmark task whose keys are the defaults of this section and of `data`."""
    kind: Literal["choice", "number", "short"] = "choice"
    """choice: one of several options; number: a quantity; short: a word or a short phrase."""
    instruction: str = ""
    """What is asked of every row, put before the question."""
    options: tuple[str, ...] = ()
    """choice: the option texts, where they are the same in every row; else they come from `data.options`."""
    tolerance: Annotated[float, Field(ge=0.0, lt=1.0)] = 1e-6
    """number: two numbers agree when they differ by at most this share of the larger one."""
    target: str = "{answer}"
    """What is trained on; {answer} is the final response, {option} (choice) the text of the option that it names. The
    benchmark presets use 'Answer: {answer}'."""
    reading: Literal["tolerant", "strict"] = "tolerant"
    """How models' answers are read. strict: only the paper's `Answer: X` line; tolerant: what models really write."""


class DataConfig(Section):
    """Where the rows are, and which column is what."""

    path: str | None = None
    """A file (.csv .json .jsonl .parquet, each also .gz but Parquet), a folder of these, or hf://DATASET[/CONFIG][/SPLIT]."""
    layout: Literal["auto", "columns", "alpaca", "sharegpt", "messages", "prompt-completion"] = "auto"
    """How a row is laid out. columns: the columns named below; auto: told from the columns that are there."""
    id: str | None = None
    """Column of the row's id. Unset: `id` where there is one, else an id is made from the row's content."""
    question: str = "question"
    """Column of the question (layout columns)."""
    response: str = "answer"
    """Column of the given response (layout columns)."""
    options: str | None = "options"
    """Column of the row's options: a list, or a JSON list in text. Used where it exists."""
    context: str | None = None
    """Column of a passage that is put before the question."""
    truth: str | None = None
    """Column of the true response, for measuring only."""
    truth_path: str | None = None
    """A row-aligned file of the same layout whose responses are the truth, for measuring only."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """fail: stop at the first malformed rows and name them; skip: count them and write them to skipped.jsonl."""


class ScriptedConfig(Section):
    """The scripted model: simulated experts for tests, load and benchmarks. It alone may read the truth."""

    mode: Literal["experts", "votes"] = "experts"
    """experts: correlated row logits as in docs/scripted.md; votes: independent votes at the set accuracy."""
    accuracy: Share = 0.755
    """Expected accuracy of the direct vote."""
    spread: Annotated[float, Field(ge=0.0)] = 1.5
    """experts: standard deviation of the rows' difficulty."""
    sharpness: Annotated[float, Field(gt=0.0)] = 2.0
    """experts: factor on the logits; above 1 the model is over-confident."""
    seed: int = 0
    """Seed of everything it draws."""
    delay: Annotated[float, Field(ge=0.0)] = 0.0
    """Seconds before each answer."""
    malformed: Share = 0.0
    """Share of the answers that can't be read."""
    faults: Share = 0.0
    """Share of the calls that fail."""


class BatchConfig(Section):
    """`llm.lane: openai-batch` and `vllm-batch`; docs/models.md, 'Batch lanes'."""

    requests: Annotated[int, Field(ge=1, le=50_000)] = 50_000
    """Requests of a file at most, and rows that are under way at once, whatever `llm.concurrency` is."""
    command: str = "vllm run-batch"
    """vllm-batch: the command, with options of vLLM's such as --max-model-len 4096. The files are added, and --model
    where it isn't among them."""


class PriceConfig(Section):
    """Money for a million tokens, in the currency of your bill."""

    prompt: Annotated[float, Field(ge=0.0)]
    """For those that are sent."""
    completion: Annotated[float, Field(ge=0.0)]
    """For those that are answered."""


_SECRET = re.compile(r"api[-_]?key|secret|passw(or)?d|authorization|bearer|credential|access[-_]?token", re.IGNORECASE)
_KEY_PLACE = "a key belongs into the environment variable that llm.api_key_env names"


def _secret_names(value: object) -> Iterator[str]:
    """Yield the keys below that are named like a secret."""
    if isinstance(value, dict):
        for name, item in value.items():
            if _SECRET.search(str(name)):
                yield str(name)
            yield from _secret_names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secret_names(item)


class LLMConfig(Section):
    """The model that answers."""

    backend: Literal["openai", "local", "scripted"] = "local"
    """openai: any OpenAI-compatible endpoint; local: transformers in this process; scripted: no model at all."""
    model: str = "smollm2"
    """The endpoint's model name; or, for local, a hub id, a folder, a .gguf file, or smollm2."""
    base_url: str | None = None
    """openai: the endpoint, such as http://127.0.0.1:8000/v1. Unset: OPENAI_BASE_URL."""
    lane: Literal["live", "openai-batch", "vllm-batch"] = "live"
    """openai: how requests travel. live: each by itself; openai-batch: as files, over the endpoint's Batch API;
    vllm-batch: as files, to `vllm run-batch` on this machine, without a server."""
    batch: BatchConfig = BatchConfig()
    """openai: the lanes that send files."""
    api_key_env: str = "OPENAI_API_KEY"
    """openai: the environment variable that holds the key; it may be unset for local servers."""
    concurrency: Positive = 512
    """Calls in flight at once, at most. openai: starts with 16, goes up as long as more calls finish a second then, and
    down where the server answers 429, 5xx or too late."""
    timeout: Annotated[float, Field(gt=0.0)] = 120.0
    """openai: seconds for one attempt at a call."""
    attempts: Positive = 5
    """openai: attempts at a call before it counts as failed."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 20
    """Alternatives asked for at each token of an answer (0: none): they give the option probabilities."""
    token_parameter: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """openai: how the length limit is named. auto: max_tokens, and the other one where the server asks for it."""
    send_seed: bool = False
    """openai: send a seed with every request. Off, since vLLM on a CPU (0.32) dies of one in a prompt that it takes in
    pieces; what makes a run repeatable is the ledger, which keeps every answer."""
    extra_body: dict[str, object] = Field(default_factory=dict)
    """openai: further keys of every request, such as chat_template_kwargs."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """local: number format. auto: bfloat16 where the processor is fast at it, else float32."""
    device: str = "auto"
    """local: cpu, cuda, cuda:1, mps; auto: the best there is."""
    trust_remote_code: bool = False
    """local: let a hub model run Python code of its own in this process. Read that code first."""
    adapter: Path | None = None
    """local: the folder of a LoRA adapter (PEFT) that is loaded onto the model. A server has names for its adapters:
    write such a name as `model`."""
    batch_tokens: Positive = 8192
    """local: prompt tokens of one batch, padding included."""
    price: PriceConfig | None = None
    """What the endpoint charges, such as {prompt: 0.15, completion: 0.6}; `robustft plan` reckons with it."""
    scripted: ScriptedConfig = ScriptedConfig()
    """scripted: the simulated experts."""

    @field_validator("base_url")
    @classmethod
    def _no_key_in_address(cls, address: str | None) -> str | None:
        if address is not None and any(mark in address for mark in "@?#"):
            raise ValueError(f"must hold no user, password, ? or #; {_KEY_PLACE}")
        return address

    @field_validator("api_key_env")
    @classmethod
    def _name_of_variable(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", name):
            raise ValueError(f"is the name of an environment variable, not the key itself; {_KEY_PLACE}")
        return name

    @field_validator("extra_body")
    @classmethod
    def _no_key_in_body(cls, body: dict[str, object]) -> dict[str, object]:
        if name := next(_secret_names(body), None):
            raise ValueError(f"holds '{name}': what is secret would be in every copy of the config; {_KEY_PLACE}")
        return body

    @model_validator(mode="after")
    def _adapter_of_local(self) -> LLMConfig:
        if self.adapter is not None and self.backend != "local":
            raise ValueError("adapter is for backend local; at a server, write the adapter's name as model")
        return self

    @property
    def rows_at_once(self) -> int:
        """Rows under way at once: those that fill a batch, else those whose calls are in flight.

        At an endpoint as many again: while a row's answer is read and its commit is awaited, another one's call flies.
        """
        if self.lane != "live":
            return self.batch.requests
        return 2 * self.concurrency if self.backend == "openai" else self.concurrency

    @model_validator(mode="after")
    def _lane_of_backend(self) -> LLMConfig:
        if self.lane != "live" and self.backend != "openai":
            raise ValueError(f"lane {self.lane} carries the requests of backend openai; set llm.backend: openai")
        return self


class PaperConfig(Section):
    """`method: paper`, RobustFT (arXiv 2412.14922); method posterior asks its experts by these keys, too."""

    variant: Literal["released", "published"] = "released"
    """released: the authors' code; published: the paper's text. docs/paper-vs-code.md lists where they differ."""
    neighbours: Annotated[int, Field(ge=0)] = 3
    """k: clean rows shown as context."""
    rounds: Positive | None = None
    """Rounds of reason, reflect, revise. Unset: 1 (released) or 3 (published)."""
    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    """Of every answer that is sampled."""
    max_tokens: Positive = 512
    """Longest answer, in tokens."""
    answers: Literal["generated", "scored"] = "generated"
    """How context and review answer. scored: the likeliest option's text, for models too small to follow a format."""


class PosteriorConfig(Section):
    """`method: posterior`, ours; docs/posterior.md explains it."""

    prior_accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """The share of these questions that the LLM answers rightly, as you believe, say from a benchmark. Decides where
    labels and experts leave it open; elsewhere it counts like 250 rows."""
    reviewed: Path | None = None
    """A file of rows that a person has checked, drawn without regard to their labels: the columns `id` and what
    `data.response` names. Thirty settle what the labels leave open."""
    noise: Literal["auto", "symmetric", "conditional"] = "auto"
    """How wrong labels come about. symmetric: any other option alike; conditional: depending on the true one; auto:
    whichever explains the labels better."""
    asking: Literal["adaptive", "all"] = "adaptive"
    """adaptive: the first expert answers all rows, each further one only those that are still undecided (and a pilot,
    for its weight); all: everyone answers everything."""
    budget: Annotated[float, Field(ge=0.0)] = 1.6
    """adaptive: LLM answers a row, on average, at most; half of what method paper takes."""
    pilot: Positive = 300
    """adaptive: rows, drawn at random, that every expert answers; at most a quarter of all."""
    samples: Positive = 3
    """Answers drawn from an expert where the model gives no log-probabilities: their frequencies stand for them."""
    review: Annotated[int, Field(ge=0)] = 0
    """Rows, of those too unsure to train on, that are set aside for a human eye rather than dropped; the likeliest
    to be right first."""


class LikelihoodConfig(Section):
    """How options' texts are scored: the likelihood expert, and `paper.answers: scored`."""

    normalise: bool = False
    """Divide a candidate's log p by its tokens, so that long options aren't at a loss."""
    prior: Literal["none", "blank", "batch"] = "none"
    """What is subtracted from a candidate's log p. blank: its log p without the question (one more score for every
    set of options); batch: its mean log p over all rows with these options (no call), where options are shared."""


class TunedConfig(Section):
    """The tuned expert: adapters trained on the other folds' likeliest answers, weighted by how likely they are.

    Model, rank and the rest are those of `train`.
    """

    folds: Annotated[int, Field(ge=2)] = 3
    """Parts that the rows are dealt to; as many adapters are trained, each on all parts but one."""
    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    """Passes over the rows."""
    lr: Annotated[float, Field(gt=0.0)] = 3e-4
    """Peak learning rate; higher than for the final adapter, since a pass or two is all that these get."""


class PromptsConfig(Section):
    """Prompts of your own: the text, or file:PATH for a UTF-8 file. Each has slots in braces that must all occur."""

    direct: str | None = None
    """Slots: question, answer_form."""
    reasoning: str | None = None
    """Slots: question, answer_form."""
    reflect: str | None = None
    """Slots: answer_form. Asked in rounds after the first."""
    likelihood: str | None = None
    """Slots: question."""
    agent: str | None = None
    """Slots: question, given, answers."""
    self_select: str | None = None
    """Slots: question, given."""
    context: str | None = None
    """Slots: examples, question, answer_form. Where answers are scored, examples are turns and there is no prompt."""
    review: str | None = None
    """Slots: question, first, second, and, unless answers are scored, answer_form."""
    training: str | None = None
    """Slots: question; instruction may occur. What rows of columns are trained on, and what the models are asked when
    they are evaluated. Unset: instruction, question and options."""


TARGET = 0.95
"""The mean confidence that is wanted of the rows trained on, unless `target_accuracy` says otherwise."""
ExpertName = Literal["direct", "reasoning", "likelihood", "agent", "probe", "tuned", "context", "review"]
POSTERIOR_ONLY: frozenset[ExpertName] = frozenset({"probe", "tuned", "context", "review"})
"""Experts that only method posterior can ask."""
SCORERS: frozenset[ExpertName] = frozenset({"likelihood", "tuned"})
"""Experts that score the texts of a row's options."""
UNSET_EXPERTS: tuple[ExpertName, ...] = ("direct", "reasoning")
"""Who is asked by the other methods where `experts` is unset."""
Format = Literal["alpaca", "sharegpt", "messages", "prompt-completion"]


class ExportConfig(Section):
    """What is written for training."""

    formats: tuple[Format, ...] = ("alpaca", "messages")
    """One file a format."""
    file_type: Literal["jsonl", "json"] = "jsonl"
    """One row a line, or one JSON list."""
    preferences: bool = False
    """Also write preference pairs: the new response over the given one, for relabelled rows."""


class TrainConfig(Section):
    """A LoRA adapter, trained on the exported rows; docs/training.md explains it."""

    model: str | None = None
    """What is trained: a hub id, a folder, a .gguf file, or smollm2. Unset: llm.model, where llm.backend is local."""
    epochs: Annotated[float, Field(gt=0.0)] = 2
    """Times that every row is seen."""
    rank: Positive = 16
    """Rank of the adapter's matrices."""
    alpha: Positive = 32
    """Scale of the adapter: its output is multiplied by alpha / rank."""
    target: str | tuple[str, ...] = "all-linear"
    """The layers that get an adapter: a list of names, or all-linear, every linear layer but the output's."""
    lr: Annotated[float, Field(gt=0.0)] = 1e-4
    """Highest learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up; constant: not at all."""
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of the steps in which the learning rate rises."""
    batch_size: Positive = 8
    """Rows of a forward pass, on each device."""
    accumulation: Positive = 1
    """Forward passes of a step: with them the batch is that many times larger, at the same memory."""
    max_length: Positive = 1024
    """Longest row, in tokens; of a longer one the end is cut off."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format. auto: bfloat16 where the processor is fast at it, else float32."""
    trust_remote_code: bool = False
    """Let a hub model run Python code of its own in this process. Read that code first. llm.trust_remote_code counts,
    too, where llm.model is trained."""
    gradient_checkpointing: bool = False
    """Less memory, for about a third more time."""
    weight: Literal["auto", "confidence", "none"] = "auto"
    """What a row counts in the loss. confidence: the probability that its final response is right (method posterior);
    none: all alike; auto: confidence where there are such probabilities, which method posterior has where it is
    identified."""
    seed: int | None = None
    """Of the adapter's first weights and of the rows' order. Unset: the run's seed."""
    checkpoint: Positive = 100
    """Steps after which the state is saved; a run that was killed goes on from there."""
    max_steps: Positive | None = None
    """Steps at most, whatever the epochs."""


class EvaluateConfig(Section):
    """Accuracy on rows that were held out, of the model before and after training; docs/evaluation.md explains it."""

    path: str
    """The held-out rows, as in data.path. Their responses are taken for right: they are never cleaned."""
    id: str | None = None
    """Column of their id. Unset: `id` where there is one."""
    question: str | None = None
    """Column of their question. Unset: data.question."""
    truth: str | None = None
    """Column of their right response. Unset: data.response."""
    options: str | None = None
    """Column of their options. Unset: data.options."""
    passage: str | None = None
    """Column of a passage that is put before the question. Unset: data.context."""
    limit: Positive | None = None
    """Take the first rows only."""
    answers: Literal["generated", "scored"] = "generated"
    """generated: the model writes an answer, which is read; scored: its answer is the option whose text, as it would
    be trained on, is likeliest (choice), for models too small to follow a format."""
    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """generated: 0 takes the likeliest token. The paper's is 0.5."""
    max_tokens: Positive = 64
    """generated: longest answer, in tokens."""
    neighbours: Annotated[int, Field(ge=0)] = 0
    """k: the nearest rows of `context`, shown with their responses before each question (SelfRAG)."""
    context: str = "cleaned"
    """Where neighbours come from. noisy: the training rows as given; cleaned: those that are trained on, with their
    final responses; else a file of the layout of `data`."""
    llm: LLMConfig | None = None
    """The model before training. Unset: the one that `train` trains, else `llm`."""
    adapters: dict[str, str] = Field(default_factory=dict)
    """What else is evaluated, by a name of yours: the folder of an adapter (local), or the name under which the server
    has it. Unset: `adapter`, the run's own, where `llm` is local and it was trained."""
    allow_overlap: bool = False
    """Evaluate although held-out rows are training rows too, exactly or nearly; metrics.json says how many."""

    @field_validator("adapters")
    @classmethod
    def _base_is_taken(cls, adapters: dict[str, str]) -> dict[str, str]:
        if "base" in adapters:
            raise ValueError("an adapter can't be called base: that is the model before training")
        return adapters


Arm = Literal["none", "paper", "posterior", "random", "oracle"]


class CompareConfig(Section):
    """The same training on differently cleaned rows: does cleaning help? docs/evaluation.md explains it."""

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ("none", "paper", "posterior", "random", "oracle")
    """none: the rows as given; paper and posterior: what these methods leave; random: as many of the given rows as
    posterior leaves; oracle: all rows with their true responses, where `data` maps the truth."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Each arm is trained once for each of these seeds."""
    steps: Positive | None = None
    """Steps of every training, whatever the arm's rows. Unset: train.epochs, so that fewer rows are fewer steps."""
    overrides: dict[Arm, dict[str, object]] = Field(default_factory=dict)
    """Keys of the config that differ in an arm, such as {paper: {experts: [likelihood]}}. Each arm asks those
    of `experts` that its method can; posterior adds the probe."""


class ReviewConfig(Section):
    """What a person says of rows on the page of `robustft review`; docs/review.md explains it."""

    file: Path | None = None
    """Where verdicts are kept, by the rows' content, so that other runs over the same rows find them. Unset:
    review.jsonl in the run directory."""


class ReportConfig(Section):
    """What report.html shows; docs/report.md explains it."""

    groups: tuple[str, ...] = ()
    """Columns of your file, such as the annotator's, for each of whose values noise and gain are shown."""


class BudgetConfig(Section):
    """What one command may spend on calls while it cleans; docs/running.md.

    When it is spent nothing more is asked, and the rows are decided by what is known. The same command goes on from
    there, with a new budget.
    """

    calls: Positive | None = None
    """Requests to the model; what the ledger answers is free."""
    tokens: Positive | None = None
    """Tokens, sent and answered."""
    cost: Annotated[float, Field(gt=0.0)] | None = None
    """Money, by llm.price."""
    minutes: Annotated[float, Field(gt=0.0)] | None = None
    """Time from the command's start."""


class RayConfig(Section):
    """`engine: ray`: models are asked by workers, on this machine or a cluster's; docs/scale.md explains it."""

    workers: Positive | None = None
    """Workers, each of which opens the model. Unset: as many as the cluster has room for."""
    cpus: Annotated[float, Field(gt=0.0)] = 1.0
    """Processors that a worker takes."""
    gpus: Annotated[float, Field(ge=0.0)] = 0.0
    """GPUs that a worker takes."""
    serve: str | None = None
    """A command that serves `llm.model` on the port {port}, such as `vllm serve Qwen/Qwen3-8B --port {port}`: each
    worker's processors and GPUs get such a server, which lives as long as models are asked. Unset: workers open the
    model themselves (local), or ask the one at llm.base_url (openai)."""
    shard: Positive = 2048
    """Rows that a worker is given at once, and that are done again where it dies (their calls are not)."""


class Config(Section):
    """Everything that a run needs."""

    task: TaskConfig = TaskConfig()
    """A preset's name, or the keys of the task."""
    data: DataConfig = DataConfig()
    """The rows."""
    llm: LLMConfig = LLMConfig()
    """The model."""
    embedder: Annotated[tuple[str, ...], Field(min_length=1)] = ("minilm",)
    """minilm, tfidf, openai:MODEL, a sentence-transformers id or folder, or hidden: the states of the local model.
    Those of a list, such as [minilm, hidden], stand side by side; the first counts most."""
    method: Literal["posterior", "paper", "self-select", "self-label", "none"] = "posterior"
    """How noise is found and mended."""
    experts: tuple[ExpertName, ...] = ("probe", "direct", "reasoning")
    """Who answers each question. posterior asks them in this order, and takes context and review among them; probe is
    a classifier on the embeddings of the other rows, tuned the model itself, trained on them (asked last). Unset, for
    the other methods: direct and reasoning; agent belongs to paper."""
    target_accuracy: Share | None = None
    """posterior: rows are trained on as long as their mean confidence is at least this. Unset: 0.95, or as many rows
    as teach most, where those are more."""
    posterior: PosteriorConfig = PosteriorConfig()
    """method: posterior."""
    paper: PaperConfig = PaperConfig()
    """method: paper."""
    likelihood: LikelihoodConfig = LikelihoodConfig()
    """The likelihood expert."""
    tuned: TunedConfig = TunedConfig()
    """The tuned expert."""
    prompts: PromptsConfig = PromptsConfig()
    """Prompts of your own."""
    export: ExportConfig = ExportConfig()
    """What is written for training; a list of formats is enough."""
    train: TrainConfig | None = None
    """Train a LoRA adapter on what is exported; {} trains with the defaults."""
    evaluate: EvaluateConfig | None = None
    """Measure the model before and after training on a held-out file: {path: FILE}."""
    compare: CompareConfig | None = None
    """Train on the rows as other methods leave them, too, and compare on the held-out file; {} takes every arm."""
    engine: Literal["local", "ray"] = "local"
    """local: this process asks the model; ray: the workers of a Ray cluster do, with the same results."""
    ray: RayConfig = RayConfig()
    """engine: ray."""
    review: ReviewConfig = ReviewConfig()
    """What a person says of rows."""
    report: ReportConfig = ReportConfig()
    """The report."""
    report_to: Literal["none", "trackio", "wandb", "mlflow"] = "none"
    """Who is told, besides the run directory, what a run came to: a tracker that is installed and set up."""
    budget: BudgetConfig = BudgetConfig()
    """What may be spent on calls: {calls, tokens, cost, minutes}."""
    offline: bool = False
    """Open no connection but to the endpoints that are named here: no hub, no tracker. provenance.json counts them."""
    ledger: Path | None = None
    """SQLite file of every finished call. Unset: one in your cache folder."""
    seed: int = 0
    """Of every random choice outside the model."""

    def trusts(self, model: str) -> bool:
        """Whether code of this model's own may be run: `llm` says so of its model, `train` of the one it trains."""
        train = self.train or TrainConfig()
        trained = train.trust_remote_code and model == (train.model or self.llm.model)
        return trained or (self.llm.trust_remote_code and model == self.llm.model)

    @property
    def target(self) -> float:
        """The mean confidence that is wanted of the rows trained on."""
        return TARGET if self.target_accuracy is None else self.target_accuracy

    @model_validator(mode="after")
    def _lane_of_engine(self) -> Config:
        if self.engine == "ray" and self.llm.lane != "live":
            raise ValueError(f"engine ray asks by itself; it can't send lane {self.llm.lane}'s files")
        if self.ray.serve is not None and (self.engine != "ray" or self.llm.backend != "openai"):
            raise ValueError(
                "ray.serve starts servers for engine ray and llm.backend openai; set both, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _price_of_budget(self) -> Config:
        if self.budget.cost is not None and self.llm.price is None:
            raise ValueError("budget.cost needs llm.price: {prompt: .., completion: ..}, money for a million tokens")
        return self

    @field_validator("task", mode="before")
    @classmethod
    def _preset_name(cls, value: object) -> object:
        return {"preset": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _experts_of_method(cls, tree: object) -> object:
        if isinstance(tree, dict) and "experts" not in tree and tree.get("method", "posterior") != "posterior":
            return tree | {"experts": UNSET_EXPERTS}
        return tree

    @model_validator(mode="after")
    def _somebody_to_vouch_for(self) -> Config:
        if self.posterior.prior_accuracy is not None and set(self.experts) <= {"probe", "tuned"}:
            raise ValueError(
                "posterior.prior_accuracy is that of the LLM's answers, and experts names nobody who asks it"
            )
        return self

    @field_validator("experts")
    @classmethod
    def _each_once(cls, experts: tuple[ExpertName, ...]) -> tuple[ExpertName, ...]:
        if len(set(experts)) < len(experts):
            raise ValueError("an expert is named twice")
        return experts

    @field_validator("embedder", mode="before")
    @classmethod
    def _one_embedder(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("export", mode="before")
    @classmethod
    def _list_of_formats(cls, value: object) -> object:
        return {"formats": value} if isinstance(value, (list, tuple)) else value
