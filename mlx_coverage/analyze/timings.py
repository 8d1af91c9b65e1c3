"""Times that were measured: of the paths of a benchmark, and of the parts of a program."""

from dataclasses import dataclass
from typing import Literal

from mlx_coverage.analyze.model import Source

Status = Literal["measured", "missing", "failed"]

SCHEMA_VERSION = 1
REFERENCE = "torch"
# Keys of this package's delegate: as it is, and under `mx::compile`.
OURS, OURS_COMPILED = "delegate", "delegate-compiled"


@dataclass(frozen=True)
class Route:
    """A way to run a model.

    Attributes:
        key: its short name.
        title: what it is.
        how: how to get it, where it is missing.
    """

    key: str
    title: str
    how: str


ROUTES = (
    Route(REFERENCE, "eager torch, CPU", "pip install torch"),
    Route("torch-mps", "eager torch, MPS", "a Mac, and torch with its MPS backend"),
    Route("torch-compile", "torch.compile, CPU", "a C++ compiler, such as g++ or clang++"),
    Route("portable", "ExecuTorch, portable kernels", "pip install executorch"),
    Route("xnnpack", "ExecuTorch, XNNPACK", "a wheel of executorch with XNNPACK"),
    Route("coreml", "ExecuTorch, Core ML", "a Mac, and pip install coremltools"),
    Route("upstream", "ExecuTorch's own MLX delegate", "the wheel of executorch for macOS"),
    Route(OURS, "this delegate", "mlx-coverage doctor says what is missing"),
    Route(OURS_COMPILED, "this delegate, mx::compile", "mlx-coverage doctor says what is missing"),
    Route("mlx-lm", "mlx-lm, of presets", "pip install mlx-lm; a preset of a family that it has"),
)
KEYS = tuple(route.key for route in ROUTES)


@dataclass(frozen=True)
class Measurement:
    """One path.

    Attributes:
        key, title: of the path.
        status: whether it was measured, is not installed, or failed.
        note: how to get it, or why it failed.
        median, low, high: seconds of a call: the median, and the quartiles.
        first: seconds from loading to the first result, compilation included.
        peak_bytes: by how much resident memory rose above that of the imports.
        error: largest difference from eager torch, relative to the largest magnitude in an output;
            None where there is no eager torch to compare with.
        calls: how many were timed.
    """

    key: str
    title: str
    status: Status
    note: str = ""
    median: float | None = None
    low: float | None = None
    high: float | None = None
    first: float | None = None
    peak_bytes: int | None = None
    error: float | None = None
    calls: int = 0


@dataclass(frozen=True)
class Benchmark:
    """All paths of one method.

    Attributes:
        model: as it was named.
        method: that was called.
        machine: system, processor and cores.
        versions: of torch, executorch and mlx.
        measurements: in the order of `ROUTES`.
        chip: of Apple, where it is one whose figures are published.
        bound_seconds: the roofline on that chip.
        bound_ratio: median of this delegate, the faster of the two, to that.
        schema_version: of the JSON.
    """

    model: str
    method: str
    machine: str
    versions: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    chip: str | None = None
    bound_seconds: float | None = None
    bound_ratio: float | None = None
    schema_version: int = SCHEMA_VERSION

    def find(self, key: str) -> Measurement | None:
        """The measurement of a path, where it was measured."""
        found = (m for m in self.measurements if m.key == key and m.status == "measured")
        return next(found, None)


@dataclass(frozen=True)
class Part:
    """A delegate, or a kernel between delegates.

    Attributes:
        name: of the backend's call with its number, or of the kernel.
        device: ``mlx`` or ``cpu``.
        seconds: median of the calls.
    """

    name: str
    device: str
    seconds: float


@dataclass(frozen=True)
class Step:
    """What is evaluated for one line of source, or one function where no line is known.

    Attributes:
        delegate: number of the delegate, from 0.
        op: ATen name; that of the MLX function where the program does not say.
        functions: MLX functions, in order.
        source: the user's line.
        module: of the model.
        seconds: median of the calls, step by step.
    """

    delegate: int
    op: str
    functions: tuple[str, ...]
    source: Source
    module: str
    seconds: float


@dataclass(frozen=True)
class Profile:
    """Times of one method.

    Attributes:
        method: by name.
        calls: how many were traced.
        seconds: median of a whole call.
        parts: in order of execution.
        steps: the slowest first; those of one node of the program are one step.
    """

    method: str
    calls: int
    seconds: float
    parts: tuple[Part, ...]
    steps: tuple[Step, ...]
