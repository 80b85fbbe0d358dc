"""What a report says, before anybody draws it: one closed document, published as a JSON schema.

Numbers are rounded and in the units that the page shows, so that each can be found here again.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from attnc.compiler.manifest_parts import Part

FORMAT: Final = "attnc-report"
VERSION = 1


class Note(Part):
    """Something that the report could not tell, and why."""

    about: str
    reason: str


class File(Part):
    """A file of the bundle."""

    path: str
    kilobytes: float


class Identity(Part):
    """What was built and from what."""

    model: str
    target: str
    profile: str
    precision: str
    batch: int | str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    source_kind: str
    source_name: str
    source_options: dict[str, Any]
    seed: int | None
    checkpoint: str | None
    checkpoint_sha256: str | None
    weights_sha256: str | None
    exported_at: str | None
    built_with: dict[str, str]
    digest: str


class PassLine(Part):
    """One pass: what it did, and its graph afterwards."""

    number: int
    name: str
    reason: str
    matches: int
    nodes_before: int
    nodes_after: int
    near_misses: int
    graph_hash: str
    seconds: float | None = None


class NearMissLine(Part):
    """A node that a pass, or the lowering, left as it was; `count` alike ones in one line."""

    step: str
    node: str
    module: str
    line: str
    reason: str
    count: int = 1


class Box(Part):
    """A node of an example; `feeds` are the places, in the same list, of those that read it."""

    operator: str
    name: str
    module: str
    line: str
    feeds: tuple[int, ...]
    fused: bool


class Example(Part):
    """The nodes around the first match of a pass, before and after it."""

    step: str
    module: str
    line: str
    before: tuple[Box, ...]
    after: tuple[Box, ...]
    left_out: int = 0


class VerdictLine(Part):
    """Whether a fused operator earned its place, with the times where they are known."""

    operator: str
    shapes: str
    nodes: int
    verdict: str
    reason: str
    fused_us: float | None = None
    body_us: float | None = None
    body_over_fused: float | None = None


class CheckLine(Part):
    """One check of `attnc verify`."""

    name: str
    status: str
    value: float | None = None
    limit: float | None = None
    reason: str = ""


class Fact(Part):
    """Another figure of a verification, by its path in that document."""

    name: str
    value: float | int | str | bool


class Accuracy(Part):
    """Source and bundle on labelled pictures, in percent; `drop` with its interval."""

    dataset: str
    pictures: int
    ran: str
    bundle_top1: float
    bundle_top5: float
    source_top1: float | None
    source_top5: float | None
    agreement: float | None
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    drop_limit: float | None
    confidence: float | None
    note: str


class Verification(Part):
    """What one run of `attnc verify` found."""

    origin: str
    ok: bool
    verified: int
    failed: int
    not_run: int
    checks: tuple[CheckLine, ...]
    accuracy: Accuracy | None = None
    facts: tuple[Fact, ...] = ()


class Against(Part):
    """Our latency over a competitor's, with the interval of that ratio."""

    runner: str
    ratio: float
    low: float
    high: float


class Runner(Part):
    """The samples of one runner at one setting."""

    runner: str
    median_ms: float
    p90_ms: float
    p99_ms: float
    quarter_ms: float
    three_quarters_ms: float
    least_ms: float
    most_ms: float
    n: int
    samples_ms: tuple[float, ...]


class Setting(Part):
    """All runners at one batch size and thread count, or mode; ratios are ours over theirs."""

    batch: int
    threads: int | None
    mode: str
    runners: tuple[Runner, ...]
    ratios: tuple[Against, ...]


class Session(Part):
    """Creation time and peak memory of one runner in a fresh process."""

    runner: str
    create_ms: float
    peak_mb: float | None
    n: int


class Latency(Part):
    """What one run of `attnc bench` found, and on which machine."""

    origin: str
    machine: str
    interval: str
    settings: tuple[Setting, ...]
    sessions: tuple[Session, ...]
    left_out: tuple[Note, ...]


class Share(Part):
    """Time of a torch module, or of an operator, in one call."""

    name: str
    nodes: int
    microseconds: float
    percent: float


class Point(Part):
    """A fused operator at some shapes under the roof."""

    operator: str
    shapes: str
    nodes: int
    microseconds: float
    megaflops: float
    kilobytes: float
    flops_per_byte: float
    gigaflops: float
    gigabytes: float
    percent_of_roof: float


class Roof(Part):
    """The ceilings, how they were measured, and the operators below them."""

    gigaflops: float
    gigabytes: float
    ridge: float
    method: str
    points: tuple[Point, ...]
    intensity_ticks: tuple[float, ...]
    rate_ticks: tuple[float, ...]


class Profile(Part):
    """Time by operator in ONNX Runtime, attributed to torch modules."""

    threads: int
    calls: int
    batch: int
    nodes_ms: float
    peak_activation_mb: float | None
    attributed_percent: float
    modules: tuple[Share, ...]
    operators: tuple[Share, ...]
    roof: Roof | None = None


class Picture(Part):
    """A view of what the model chose, over a photograph."""

    kind: Literal["kept-tokens", "kept-keys", "slots"]
    photo: str
    caption: str
    alternative: str
    width: int
    height: int
    data: str


class Memory(Part):
    """What a bundle takes on disk and, as far as it is known, in memory."""

    bundle_mb: float
    model_mb: float | None
    kernels_mb: float
    weights_mb: float | None
    arena_mb: float | None
    files: tuple[File, ...]


class BundleReport(Part):
    """All that is known about one bundle."""

    title: str
    folder: str
    identity: Identity
    memory: Memory
    operators: dict[str, int]
    passes: tuple[PassLine, ...]
    nodes_traced: int | None
    nodes_rewritten: int | None
    near_misses: tuple[NearMissLine, ...]
    verdicts: tuple[VerdictLine, ...]
    verifications: tuple[Verification, ...]
    latencies: tuple[Latency, ...]
    profile: Profile | None
    examples: tuple[Example, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[Note, ...]


class Document(Part):
    """A report: the JSON of `attnc report --json`."""

    format: Literal["attnc-report"] = FORMAT
    version: int = VERSION
    attnc: str
    machine: dict[str, Any]
    bundles: tuple[BundleReport, ...]


def json_schema() -> dict[str, Any]:
    """The JSON schema of the document."""
    return Document.model_json_schema()
