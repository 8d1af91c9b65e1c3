"""A case: one call of an entry's target on explicit values, and the code that repeats it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch._ops import OpOverload
from torch.utils._pytree import tree_map_only

from mlx_coverage.registry.call import Call, parameters
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.arguments import Drawing
from tests.op_conformance.arrays import DEVICE
from tests.op_conformance.domain import DTYPES, ORDER, list_followers, read_domain
from tests.op_conformance.values import integers

_SNIPPET = """\
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import Call
from mlx_coverage.registry.evaluate import evaluate
from mlx_coverage.registry.mx import mx
from torch.utils._pytree import tree_map_only

inf, nan = float("inf"), float("nan")


def to_mlx(t):
    bits = t.contiguous().view(torch.int16) if t.dtype == torch.bfloat16 else t
    array = mx.array(bits.numpy())
    return mx.view(array, mx.bfloat16) if t.dtype == torch.bfloat16 else array


arguments = {{
{arguments}
}}
{find}
expected = {call}
call = Call.from_values(entry.target, (), arguments, expected, constants={constants})
actual = evaluate(entry, call, tree_map_only(torch.Tensor, to_mlx, arguments))
print("torch:", expected)
print("mlx:  ", actual)
"""


# Of a strided operand torch's kernels read what lies between its elements or past them.
MISREADS_STRIDES = {
    torch.ops.aten._embedding_bag.default,
    torch.ops.aten._embedding_bag_forward_only.default,
    torch.ops.aten._int_mm.default,
    torch.ops.aten.median.dim,
    torch.ops.aten.nanmedian.dim,
}


@dataclass
class Case:
    """A call inside (or just outside) the domain of an entry.

    Attributes:
        spec: the entry.
        arguments: by ATen name; what is not named keeps its schema default.
        constants: names of the tensor arguments that are constants of the program.
        sizes, groups: what the named dimensions were drawn as.
    """

    spec: OpSpec
    arguments: dict[str, Any]
    constants: frozenset[str] = field(default=frozenset())
    sizes: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_describe(v)}" for name, v in self.arguments.items())
        return f"{self.spec.name}({shown})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis would print a dataclass field by field.
        printer.text(repr(self))

    def run_torch(self, arguments: Mapping[str, Any] | None = None) -> Any:
        """What eager torch gives; raises what torch raises."""
        values = self.arguments if arguments is None else arguments
        with torch.no_grad():
            if self.spec.target in MISREADS_STRIDES:
                values = tree_map_only(torch.Tensor, torch.Tensor.contiguous, dict(values))
            if isinstance(self.spec.target, OpOverload):
                return self.spec.target(**values)
            return self.spec.target(*values.values())

    def bind(self, results: Any) -> Call:
        """The call as judging and evaluation see it."""
        return Call.from_values(self.spec.target, (), self.arguments, results, self.constants)

    def tensors(self) -> list[torch.Tensor]:
        """All tensor operands, lists flattened."""
        return [t for value in self.arguments.values() for t in flatten(value)]

    def replace(self, /, **arguments: Any) -> "Case":
        """The case with other values of some arguments."""
        return replace(self, arguments={**self.arguments, **arguments})

    def print_snippet(self) -> str:
        """Self-contained code that runs the case on torch and on MLX."""
        lines = "\n".join(f"    {name!r}: {_write(v)}," for name, v in self.arguments.items())
        is_aten = isinstance(self.spec.target, OpOverload)
        return _SNIPPET.format(
            arguments=lines,
            find=(
                f"entry = default_registry().get(torch.ops.{self.spec.name})" if is_aten
                else f"entry = default_registry().by_name[{self.spec.name!r}]"
            ),
            call="entry.target(**arguments)" if is_aten else "entry.target(*arguments.values())",
            constants=sorted(self.constants),
        )  # fmt: skip


def cases(
    spec: OpSpec,
    dtype: torch.dtype | None,
    avoids: frozenset[str] | None = None,
    favours: str | None = None,
) -> st.SearchStrategy[Case]:
    """Calls inside the domain of an entry.

    Args:
        spec: the entry; it needs samples.
        dtype: of the tensors that follow the case's dtype, None where none does.
        avoids: value classes to leave out; by default what the limitations say.
        favours: a value class of which elements should have many.
    """
    if spec.samples is None:
        raise ValueError(f"{spec.name} has no samples: conformance cannot check it")
    return _cases(spec, dtype, avoids, favours)


def list_avoided(spec: OpSpec, *dtypes: torch.dtype | None) -> frozenset[str]:
    """The value classes that the entry's limitations leave out of calls in these dtypes."""
    return frozenset(
        limitation.avoids
        for limitation in spec.limitations
        if limitation.avoids is not None
        and limitation.device in (None, DEVICE)
        and (not limitation.dtypes or not limitation.dtypes.isdisjoint(dtypes))
    )


@st.composite
def _cases(
    draw: Callable[..., Any],
    spec: OpSpec,
    dtype: torch.dtype | None,
    avoids: frozenset[str] | None,
    favours: str | None,
) -> Case:
    domain = read_domain(spec)
    drawing = Drawing(lambda s, label: draw(s), spec, domain, dtype, favours=favours)
    _draw_result_dtype(drawing)
    if avoids is None:
        # What an operand may hold depends on the dtypes of them all.
        dtypes = [drawing.dtype_of(name, None) for name in list_followers(spec)]
        avoids = list_avoided(spec, dtype, drawing.values.get("dtype"), *dtypes)
    drawing.avoids = avoids
    # Zero-size tensors in one case of eight: more would leave little to compare.
    drawing.empty = "zero_size" not in avoids and draw(integers(0, 7), label="empty") == 7
    for name in drawing.plan.arguments:
        drawing.argument(name)
    _draw_unnamed(drawing)
    order = [name for name, _, _ in parameters(spec.target)]
    values = {name: drawing.values[name] for name in order if name in drawing.values}
    constants = frozenset(domain.constants) if domain.constants else frozenset()
    return Case(spec, values, constants, drawing.sizes, drawing.groups)


def _draw_unnamed(drawing: Drawing) -> None:
    """Draw the arguments that samples do not name and a rule bounds."""
    domain = drawing.domain
    names = [name for name, _, _ in parameters(drawing.spec.target)]
    for name, accepted in domain.choices.items():
        if name in names and name not in drawing.values:
            value = drawing.draw(st.sampled_from(accepted), label=name)
            drawing.values[name] = list(value) if isinstance(value, tuple) else value
    for name in _dtype_arguments(drawing.spec.target):
        if isinstance(drawing.values.get(name), str):
            drawing.values[name] = DTYPES[drawing.values[name]]


def _draw_result_dtype(drawing: Drawing) -> None:
    """Draw the `dtype` that samples do not name and a rule on the result bounds."""
    accepted, names = drawing.domain.results, [n for n, _, _ in parameters(drawing.spec.target)]
    named = {*drawing.plan.arguments, *drawing.domain.choices}
    if accepted is None or "dtype" not in names or "dtype" in named:
        return
    drawing.values["dtype"] = drawing.dtype
    if list_followers(drawing.spec):
        choices = [dtype for dtype in ORDER if dtype in accepted]
        drawing.values["dtype"] = drawing.draw(st.sampled_from(choices), label="dtype")


def _dtype_arguments(target: Any) -> list[str]:
    if not isinstance(target, OpOverload):
        return []
    # torch's schema calls a ScalarType an int; its name tells them apart.
    return [
        a.name for a in target._schema.arguments if a.name == "dtype" or a.name.endswith("_dtype")
    ]


def flatten(value: Any) -> list[torch.Tensor]:
    """The tensors of an argument or result."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in flatten(item)]
    return []


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_describe(item) for item in value)}]"
    return repr(value)


def _write(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return _write_tensor(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_write(item) for item in value)}]"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, complex):
        return f"complex({_write(value.real)}, {_write(value.imag)})"
    return repr(value)


def _write_tensor(tensor: torch.Tensor) -> str:
    elements = tensor.tolist() if tensor.numel() else []
    code = f"torch.tensor({elements!r}, dtype={tensor.dtype})"
    if tensor.dtype.is_complex:
        parts = (_write_tensor(part.contiguous()) for part in (tensor.real, tensor.imag))
        code = f"torch.complex({', '.join(parts)})"
    if not tensor.numel():
        return f"torch.empty({tuple(tensor.shape)!r}, dtype={tensor.dtype})"
    if not tensor.is_contiguous():
        storage = (
            f"torch.empty_strided({tuple(tensor.shape)}, {tensor.stride()}, dtype={tensor.dtype})"
        )
        if 0 in tensor.stride():
            kept = tuple(slice(0, 1) if s == 0 else slice(None) for s in tensor.stride())
            return f"{_write_tensor(tensor[kept].contiguous())}.expand({tuple(tensor.shape)})"
        return f"{storage}.copy_({code})"
    return code
