"""Torch's own operator samples: `torch.testing._internal.common_methods_invocations.op_db`.

A second source of inputs beside our strategies, written by the authors of the ops.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from executorch.exir.program._program import _default_decomposition_table
from torch._ops import OpOverload
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import bind, canonicalize
from mlx_coverage.registry.spec import OpSpec, Tolerance
from tests.op_conformance.arrays import DEVICE
from tests.op_conformance.cases import Case, flatten
from tests.op_conformance.checks import REFUSALS
from tests.op_conformance.criterion import FREE_TIES, UNDEFINED
from tests.op_conformance.lowering import lay_out

DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip
OPS: dict[str, OpInfo] = {op.full_name: op for op in op_db}
SEED = 0

# What torch raises for a call that it does not take; AssertionError from its Python parts.
REFUSED_BY_TORCH = (*REFUSALS, AssertionError, AttributeError)

# Taking a tensor out of autograd is no arithmetic.
_DETACH = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


@dataclass
class Sample:
    """One call that torch's authors wrote, its tensors dense and contiguous.

    Attributes:
        name: `float32-3`: dtype and position among torch's samples.
        dtype: that the sample was asked for; other tensors may have others.
        function: of the op.
        leaves: what it is called with, flattened.
        structure: how they stand in (input, args, kwargs).
    """

    name: str
    dtype: torch.dtype
    function: Callable[..., Any]
    leaves: list[Any]
    structure: TreeSpec

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensor leaves: the inputs of a program."""
        return [leaf for leaf in self.leaves if isinstance(leaf, torch.Tensor)]

    def call(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """The op on other tensors in place of the sample's own; its tensor results."""
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(x, torch.Tensor) else x for x in self.leaves]
        first, args, kwargs = tree_unflatten(leaves, self.structure)
        return [
            leaf
            for leaf in tree_flatten(self.function(first, *args, **kwargs))[0]
            if isinstance(leaf, torch.Tensor)
        ]

    def run_torch(self) -> tuple[list[torch.Tensor], list[tuple[OpOverload, Any, Any]]]:
        """What eager torch gives, and the ATen calls that it makes; raises what torch raises."""
        tensors = [tensor.clone() for tensor in self.tensors]
        with torch.no_grad(), _Calls() as calls:
            results = self.call(tensors)
        return results, [call for call in calls.found if call[0] not in _DETACH]

    def as_case(self) -> Case:
        """The sample as the numeric criterion sees it.

        One ATen call of a known entry is a case of that entry. Anything else is a function
        of its tensors: compared by the same criterion, without what only an entry can say
        (signs of zero of pointwise ops, ties), and with the widest tolerance of its ops.
        """
        results, calls = self.run_torch()
        if len(calls) == 1 and calls[0][0] in UNDEFINED:
            target, args, kwargs = calls[0]
            return Case(OpSpec(target, target, (), None), bind(target, args, kwargs))
        known = [default_registry().get(canonicalize(target)) for target, _, _ in calls]
        if len(calls) == 1 and known[0] is not None:
            target, args, kwargs = calls[0]
            case = Case(known[0], bind(target, args, kwargs))
            given = flatten(case.run_torch())
            # The function around the call may pick among the results or cast them.
            if _describe(given) == _describe(results):
                return case
            if target in FREE_TIES and not _is_same(results, given[:1]):
                return case  # the indices alone
        found = [spec.tolerance for spec in known if spec and spec.tolerance]
        widest = max(found, key=lambda tolerance: tolerance.relative, default=None)
        tensors = self._convert_integers(results)
        return Case(self._as_entry(widest), {f"x{i}": t for i, t in enumerate(tensors)})

    def _convert_integers(self, results: list[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors, integers as the floats that torch computes with where it makes floats."""
        floats = [t.to(torch.get_default_dtype()) for t in self.tensors]
        if any(t.is_floating_point() or t.is_complex() for t in self.tensors) or not all(
            t.is_floating_point() for t in results
        ):
            return self.tensors
        try:
            return floats if _is_same(self.call(floats), results) else self.tensors
        except (RuntimeError, IndexError):
            return self.tensors  # they are indices or counts

    def list_limitations(self) -> list[str]:
        """The known differences on this device that the entries of its ATen calls declare."""
        _, calls = self.run_torch()
        known = [default_registry().get(canonicalize(target)) for target, _, _ in calls]
        return [
            limitation.what
            for spec in known
            for limitation in (spec.limitations if spec else ())
            if limitation.device in (None, DEVICE)
            and (not limitation.dtypes or self.dtype in limitation.dtypes)
        ]

    def _as_entry(self, tolerance: Tolerance | None) -> OpSpec:
        def run(*tensors: torch.Tensor) -> list[torch.Tensor]:
            return self.call(tensors)

        return OpSpec(run, run, (), None, tolerance=tolerance)


def _describe(tensors: list[torch.Tensor]) -> list[tuple[torch.Size, torch.dtype]]:
    return [(t.shape, t.dtype) for t in tensors]


def _is_same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return _describe(some) == _describe(others) and all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(some, others, strict=True)
    )


class _Calls(TorchDispatchMode):
    """Keeps the ATen calls made under it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[OpOverload, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def list_samples(op: OpInfo, dtype: torch.dtype, cap: int | None) -> list[Sample]:
    """Torch's sample and reference inputs of an op in one dtype.

    Reference inputs hold the sample inputs. What is not a dense tensor is left out: a
    program of ExecuTorch takes no other.

    Args:
        op: one of `OPS`.
        dtype: that the op supports on CPU; none are listed for another.
        cap: at most so many, evenly spaced over torch's; None for all.
    """
    if dtype not in op.supported_dtypes("cpu"):
        return []
    torch.manual_seed(SEED)
    every = list(op.reference_inputs("cpu", dtype))
    step = 1.0 if cap is None else max(1.0, len(every) / cap)
    chosen = [int(i * step) for i in range(int(len(every) / step + 1e-9))]
    name = str(dtype).removeprefix("torch.")
    made = (_make_sample(f"{name}-{i}", dtype, op, every[i]) for i in chosen)
    return [sample for sample in made if sample is not None]


def list_answered(op: OpInfo, cap: int | None) -> tuple[list[Sample], set[OpOverload]]:
    """The samples of all dtypes that eager torch answers with a tensor, and the ATen calls made."""
    samples, targets = [], set()
    for sample in (s for dtype in DTYPES for s in list_samples(op, dtype, cap)):
        try:
            results, calls = sample.run_torch()
        except REFUSED_BY_TORCH:
            continue
        targets.update(target for target, _, _ in calls)
        if results:
            samples.append(sample)
    return samples, targets


def is_related(targets: Iterable[OpOverload]) -> bool:
    """Whether the delegate may meet what the overloads become.

    The registry knows one of them, as an entry or as a gap, or ExecuTorch decomposes one.
    """
    registry, table = default_registry(), _default_decomposition_table()
    return any(
        registry.get(target) is not None or registry.get_gap(target) is not None or op in table
        for op, target in ((op, canonicalize(op)) for op in targets)
    )


def list_raising(op: OpInfo, cap: int | None) -> list[Sample]:
    """The calls that torch's authors say must raise, and that do in eager torch."""
    if op.error_inputs_func is None:
        return []
    torch.manual_seed(SEED)
    errors = list(islice(op.error_inputs("cpu"), cap))
    made = [
        _make_sample(f"error-{i}", torch.float32, op, error.sample_input)
        for i, error in enumerate(errors)
    ]
    return [sample for sample in made if sample is not None and _is_raised(sample)]


def _make_sample(name: str, dtype: torch.dtype, op: OpInfo, given: Any) -> Sample | None:
    leaves, structure = tree_flatten((given.input, tuple(given.args), dict(given.kwargs)))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    if not all(map(_is_dense, tensors)):
        return None
    leaves = [lay_out(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return Sample(name, dtype, op.op, leaves, structure)


def _is_dense(tensor: torch.Tensor) -> bool:
    return type(tensor) is torch.Tensor and tensor.layout is torch.strided and tensor.is_cpu


def _is_raised(sample: Sample) -> bool:
    try:
        sample.run_torch()
    except REFUSED_BY_TORCH:
        return True
    return False
