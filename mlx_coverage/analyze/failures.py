"""Typed failures on the way to a plan, each one sentence, and how torch's become one.

* InputError: what the user named cannot be read (exit code 2).
* CallError: a call of a program failed (exit code 3).
* CaptureError: the model failed at a stage (exit code 3).
* ForeignDifferenceError: ExecuTorch computes something else than torch (exit code 3).
* AttestationError: the lowered program is not what the plan says (exit code 4); of which
  DifferenceError: it computes something else, and no other's fault is shown.
"""

import re

from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from mlx_coverage.analyze.model import Source, StageName
from mlx_coverage.analyze.sources import locate_error, locate_frames, parse_stack
from mlx_coverage.registry.reasons import ReasonKind

_LONGEST = 300
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|\b0x[0-9a-fA-F]{6,}\b")
_POINTER = re.compile(r" For more information, run with TORCH_LOGS=\S+")
# Lines that say nothing by themselves.
_EMPTY = re.compile(r"^(\W*|Traceback.*|The above exception.*|from user code:?)$", re.IGNORECASE)


class InputError(Exception):
    """What the user gave cannot be used: the text says what is accepted and what to do."""


class CallError(InputError):
    """A program was loaded, and a call of it failed: the text says why (exit code 3)."""


class CaptureError(Exception):
    """The model did not pass a stage.

    Attributes:
        stage: the stage.
        kind: the entry of the vocabulary.
        sentence: why, in torch's or the model's own words, condensed.
        source: the user's line.
        remarks: what is to be known of the model beside it, as in `CoverageReport`.
    """

    remarks: tuple[str, ...] = ()

    def __init__(
        self, stage: StageName, kind: ReasonKind, sentence: str, source: Source | None = None
    ) -> None:
        super().__init__(sentence)
        self.stage = stage
        self.kind = kind
        self.sentence = sentence
        self.source = source or Source()

    @classmethod
    def from_error(
        cls, stage: StageName, kind: ReasonKind, error: BaseException, prefix: str = ""
    ) -> "CaptureError":
        """Condense an exception and find the user's line in its traceback, or in its text."""
        source = locate_error(error)
        if source.file is None:
            source = locate_frames(parse_stack(str(error)))
        return cls(stage, kind, prefix + condense(error), source)

    def describe(self) -> str:
        """One sentence for the user, with the line where it is known."""
        where = f" ({self.source.place})" if self.source.file else ""
        return f"{self.stage} failed: {self.sentence}{where}"


class ForeignDifferenceError(Exception):
    """Results differ from torch's with nothing delegated, too: ExecuTorch's own kernels do it."""


class AttestationError(Exception):
    """The nodes inside the delegates are not those of the plan: a defect of ours."""


class DifferenceError(AttestationError):
    """A result differs from eager torch's by more than rounding explains.

    Attributes:
        output: its position among the outputs; None where those are not as many as torch's.
    """

    def __init__(self, sentence: str, output: int | None = None) -> None:
        super().__init__(sentence)
        self.output = output


def condense(error: BaseException) -> str:
    """The first meaningful sentence of an exception: no traceback, address or repr."""
    if isinstance(error, GuardOnDataDependentSymNode):
        return (
            "its passes have to compare a size or an index that the model reads from a tensor, and "
            "cannot; bound it with torch._check, or compute with whole tensors and a mask"
        )
    text = _ADDRESS.sub("", _POINTER.sub("", _ESCAPES.sub("", str(error))))
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if not _EMPTY.match(line)]
    if not lines:
        return type(error).__name__
    sentence = lines[0]
    for line in lines[1:3]:
        if line.startswith("- "):  # why, as the first item of a list
            sentence += " " + line.removeprefix("- ").partition(". ")[0]
            break
        if not sentence.endswith((":", ",")):
            break
        sentence += " " + line
    sentence = " ".join(sentence.split())
    if len(sentence) > _LONGEST:
        sentence = sentence[: _LONGEST - 2].rsplit(" ", 1)[0] + " …"
    plain = isinstance(error, (RuntimeError, ValueError, AssertionError))
    return sentence if plain else f"{type(error).__name__}: {sentence}"
