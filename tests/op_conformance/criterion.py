"""When a result of MLX counts as torch's: docs/adr/0003-numeric-criterion.md says why."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch._ops import OpOverload
from torch._prims_common import elementwise_dtypes
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from mlx_coverage.registry.spec import Promotion
from tests.op_conformance.cases import Case, flatten
from tests.op_conformance.factors import FACTORS

# Units in the last place within which results are equal at once, without a reference.
DIRECT_ULPS = {torch.float32: 16, torch.float16: 1, torch.bfloat16: 1, torch.float64: 64}

# Results below float32's smallest normal number may be flushed to zero: GPUs and MLX's
# vectorised functions do. float16's subnormals are ordinary float32 numbers to both.
FLUSHED = {
    torch.float32: torch.finfo(torch.float32).smallest_normal,
    torch.bfloat16: torch.finfo(torch.bfloat16).smallest_normal,
}

# Values and indices, where torch's documentation leaves the order of equal elements open.
FREE_TIES = {
    torch.ops.aten.sort.default,
    torch.ops.aten.topk.default,
    torch.ops.aten.kthvalue.default,
    torch.ops.aten.median.dim,
    torch.ops.aten.nanmedian.dim,
    torch.ops.aten.mode.default,
}

# Results of these have a shape and a dtype, and any values.
UNDEFINED = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.empty_permuted.default,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
}

# The error of a fast Fourier transform is relative to the norm of all that it sums.
NORMWISE = {
    torch.ops.aten._fft_r2c.default,
    torch.ops.aten._fft_c2c.default,
    torch.ops.aten._fft_c2r.default,
}

# The errors of LAPACK are relative to the norm of a matrix, the last two axes.
MATRIXWISE = {
    torch.ops.aten.linalg_inv.default,
    torch.ops.aten.linalg_solve.default,
    torch.ops.aten.linalg_cholesky.default,
    torch.ops.aten.cholesky_inverse.default,
    torch.ops.aten.cholesky_solve.default,
    torch.ops.aten.linalg_solve_triangular.default,
    torch.ops.aten.triangular_solve.default,
    torch.ops.aten.linalg_matrix_power.default,
    torch.ops.aten.inverse.default,
    *([torch.ops.aten.cholesky.default] if hasattr(torch.ops.aten, "cholesky") else []),
}

# Results of these behind the first are for a backward pass: which of its kernels torch takes
# decides whether they are set, and to what.
FORWARD_ONLY = {
    torch.ops.aten._embedding_bag.default,
    torch.ops.aten._embedding_bag_forward_only.default,
}

# Products of many numbers: where some order of the factors leaves the dtype's range, the
# result is a fact of the kernel's order.
PRODUCTS = {torch.ops.aten.prod.default, torch.ops.aten.prod.dim_int}

# Each part of their complex results is a sum of products: of its zeros as of any sum's.
SUMS_OF_PARTS = {
    *(torch.ops.aten.add.Scalar, torch.ops.aten.add.Tensor),
    *(torch.ops.aten.sub.Scalar, torch.ops.aten.sub.Tensor),
    *(torch.ops.aten.mul.Scalar, torch.ops.aten.mul.Tensor),
    *(torch.ops.aten.div.Scalar, torch.ops.aten.div.Tensor),
    *(torch.ops.aten.pow.Scalar, torch.ops.aten.pow.Tensor_Scalar),
    *(torch.ops.aten.pow.Tensor_Tensor, torch.ops.aten.reciprocal.default),
    torch.ops.aten.rsqrt.default,
}

# How much farther than torch's own error, and than what half a float32 ulp of the inputs
# changes, MLX may be from the float64 reference; and ulps of the result on top.
ERROR_FACTOR = 2.0
SPREAD_FACTOR = 4.0
REFERENCE_ULPS = 1.0
PERTURBATIONS = 16


@dataclass
class MismatchError(Exception):
    """A result that is not torch's."""

    what: str

    def __str__(self) -> str:
        return self.what


def compare(case: Case, actual: Any, expected: Any, *, signs: bool = True) -> None:
    """Compare the results of a case.

    Args:
        case: what was run; decides tolerance and gives the float64 reference.
        actual: MLX's results, as tensors.
        expected: eager torch's.
        signs: whether the sign of a zero counts.

    Raises:
        MismatchError: dtype, shape, NaN or infinity placement, sign of zero or value differs.
    """
    ours, theirs = flatten(actual), flatten(expected)
    if len(ours) != len(theirs):
        raise MismatchError(f"{len(ours)} results, torch gives {len(theirs)}")
    if not theirs and (type(actual) is not type(expected) or actual != expected):
        raise MismatchError(f"{actual!r}, torch gives {expected!r}")
    if case.spec.target in FORWARD_ONLY:
        ours, theirs = ours[:1], theirs[:1]
    if case.spec.target in FACTORS:
        _compare_factors(FACTORS[case.spec.target], ours, theirs)
        return
    if case.spec.target in FREE_TIES:
        _compare_ties(case, ours.pop(), theirs.pop())
    reference = Reference(case)
    for position, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        try:
            _compare_tensors(case, one, other, lambda i=position: reference.result(i), signs)
        except MismatchError as mismatch:
            if len(theirs) > 1:
                mismatch.what = f"result {position}: {mismatch.what}"
            raise


def _compare_ties(case: Case, actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Indices that may differ from torch's where they point at equal elements."""
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        _compare_tensors(case, actual, expected, lambda: None)
    operand, dim = case.arguments["self"], case.arguments.get("dim", -1)
    if not operand.dim():
        _require(actual == 0, actual, expected, "index")
        return
    if not actual.numel():
        return
    if actual.dim() < operand.dim():  # reduced without keepdim
        actual, expected = actual.unsqueeze(dim), expected.unsqueeze(dim)
    size = operand.shape[dim]
    _require((actual >= 0) & (actual < size), actual, expected, "index")
    picked, wanted = operand.gather(dim, actual), operand.gather(dim, expected)
    _require(
        (picked == wanted) | ((picked != picked) & (wanted != wanted)), actual, expected, "index"
    )
    if actual.shape[dim] > 1:
        ordered = actual.sort(dim).values
        repeated = ordered.diff(dim=dim) == 0
        if bool(repeated.any()):
            raise MismatchError("an index is given twice")


def _require_alike(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        if one.dtype != other.dtype:
            raise MismatchError(f"dtype {one.dtype}, torch gives {other.dtype}")
        if one.shape != other.shape:
            raise MismatchError(f"shape {tuple(one.shape)}, torch gives {tuple(other.shape)}")


def _compare_factors(
    rebuild: Callable[[list[torch.Tensor]], list[torch.Tensor]],
    actual: list[torch.Tensor],
    expected: list[torch.Tensor],
) -> None:
    """What is made of the factors, equal but for an error relative to its largest element."""
    _require_alike(actual, expected)
    for ours, theirs in zip(rebuild(actual), rebuild(expected), strict=True):
        if theirs.numel():
            bound = DIRECT_ULPS[theirs.dtype] * torch.finfo(theirs.dtype).eps * theirs.abs().max()
            _require((ours - theirs).abs() <= bound, ours, theirs, "value")


def _compare_tensors(
    case: Case,
    actual: torch.Tensor,
    expected: torch.Tensor,
    reference: Callable[[], Any],
    signed: bool = True,
) -> None:
    _require_alike([actual], [expected])
    if case.spec.target in UNDEFINED:
        return
    parts = expected.dtype.is_complex
    if parts:
        actual, expected = _view_parts(actual), _view_parts(expected)
    if not expected.dtype.is_floating_point:
        _require(actual == expected, actual, expected, "value")
        return
    if case.spec.view:
        same = (actual == expected) & (torch.signbit(actual) == torch.signbit(expected))
        _require(same | (actual.isnan() & expected.isnan()), actual, expected, "value")
        return
    good = is_close(case, actual, expected)
    if case.spec.target in PRODUCTS and not bool(good.all()):
        good |= depends_on_order(case, expected.dtype, parts)
    signs = (actual != 0) | (expected != 0) | (torch.signbit(actual) == torch.signbit(expected))
    signs |= not signed or (parts and case.spec.target in SUMS_OF_PARTS)
    if bool(good.all() & signs.all()):
        return
    if not bool(good.all()):
        found = reference()
        if found is None:
            _require(good, actual, expected, "value")
        else:
            exact, spread = found
            good |= is_no_farther(actual, expected, exact, spread)
            _require(good, actual, expected, "value", exact)
    if not bool(signs.all()):
        signs |= ~has_binding_zeros(case, expected, ~signs, parts)
        _require(signs, actual, expected, "sign of zero")


def is_close(case: Case, actual: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Where two results agree within the dtype's direct tolerance, NaN with NaN."""
    dtype = expected.dtype
    info = torch.finfo(dtype)
    relative, absolute = DIRECT_ULPS[dtype] * info.eps, FLUSHED.get(dtype, 0.0)
    if case.spec.tolerance is not None:
        relative, absolute = case.spec.tolerance.relative, case.spec.tolerance.absolute
    ours, theirs = saturate(actual, dtype), saturate(expected, dtype)
    close = (ours - theirs).abs() <= absolute + relative * theirs.abs()
    return close | (actual.isnan() & expected.isnan())


def depends_on_order(case: Case, dtype: torch.dtype, parts: bool = False) -> torch.Tensor:
    """Where the large factors of a product alone overflow `dtype`, or the small underflow it.

    `parts` says that the results are the real and imaginary parts of complex ones.
    """
    factors = case.arguments["self"]
    size = (factors if factors.is_complex() else factors.to(dtype)).abs().double()
    arguments = {name: v for name, v in case.arguments.items() if name != "dtype"}
    sized = torch.where(size.isfinite() & (size != 0), size, 1.0)
    large = case.run_torch({**arguments, "self": sized.clamp(min=1.0)})
    small = case.run_torch({**arguments, "self": sized.clamp(max=1.0)})
    found = (large > torch.finfo(dtype).max) | (small < torch.finfo(dtype).smallest_normal)
    return found.unsqueeze(-1) if parts else found


def is_no_farther(
    actual: torch.Tensor, expected: torch.Tensor, exact: torch.Tensor, spread: torch.Tensor
) -> torch.Tensor:
    """Where MLX is as near to the float64 reference as torch's low precision allows.

    Args:
        actual: MLX's result.
        expected: torch's result in the same dtype.
        exact: the float64 reference.
        spread: how far the reference moves when inputs move by an ulp of float32.
    """
    dtype = expected.dtype
    info = torch.finfo(dtype)
    ours, theirs, truth = (saturate(t, dtype) for t in (actual, expected, exact))
    own_error = (theirs - truth).abs().nan_to_num(nan=0.0, posinf=0.0)
    own_error = torch.where(expected.isfinite(), own_error, 0.0)
    smallest = FLUSHED.get(dtype, info.smallest_normal) * info.eps
    ulp = torch.maximum(truth.abs() * info.eps, torch.tensor(smallest))
    bound = ERROR_FACTOR * own_error + SPREAD_FACTOR * spread + REFERENCE_ULPS * ulp
    near = (ours - truth).abs() <= bound.nan_to_num(nan=0.0)
    return near | (actual.isnan() & exact.isnan())


def has_binding_zeros(
    case: Case, expected: torch.Tensor, where: torch.Tensor, parts: bool = False
) -> torch.Tensor:
    """Where torch's sign of zero is a fact about the op rather than about its kernel.

    Only pointwise ops have such: sums and products of many numbers depend on an order.
    And only elements whose operands hold no zeros of both signs (IEEE 754 leaves the
    minimum of 0.0 and -0.0 free), at which torch's scalar and vector kernels agree, in
    the result dtype and in float64. `parts` says that the last axis is that of real and
    imaginary parts.
    """
    binding = torch.zeros_like(where)
    if torch.Tag.pointwise not in getattr(case.spec.target, "tags", ()):
        return binding
    shape = expected.shape[:-1] if parts else expected.shape
    for index in map(tuple, where.nonzero().tolist()[:4]):
        place, part = (index[:-1], index[-1:]) if parts else (index, ())
        scalars = [_pick(t, shape, place, None, True) for t in case.tensors()]
        scalars = [x for t in scalars for x in (_view_parts(t) if t.is_complex() else [t])]
        scalars += [
            torch.tensor(v, dtype=torch.float64)
            for v in case.arguments.values()
            if isinstance(v, (bool, int, float))
        ]
        signs = {bool(torch.signbit(value)) for value in scalars if value == 0}
        binding[index] = len(signs) < 2 and all(
            bool(((result == 0) & (torch.signbit(result) == torch.signbit(expected[index]))).all())
            for result in (r[(..., *part)] for r in _run_alone(case, shape, place))
        )
    return binding


def _pick(
    tensor: torch.Tensor, shape: torch.Size, index: tuple[int, ...], length: int | None, wide: bool
) -> torch.Tensor:
    value = tensor.expand(shape)[index]
    if wide:
        value = value.to(torch.complex128 if value.is_complex() else torch.float64)
    return value if length is None else value.repeat(length)


def _run_alone(case: Case, shape: torch.Size, index: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """One element's operands through torch as a scalar and as a long row, in two dtypes."""
    for length in (None, 64):
        for wide in (False, True):
            pick = partial(_pick, shape=shape, index=index, length=length, wide=wide)
            try:
                results = case.run_torch(tree_map_only(torch.Tensor, pick, case.arguments))
            except (RuntimeError, IndexError):
                continue
            yield from (_view_parts(r) if r.is_complex() else r for r in flatten(results))


def _view_parts(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor.resolve_conj())


def saturate(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """In float64, what overflows `dtype` one step beyond its largest number, so that an
    infinity and the largest number are neighbours.
    """
    edge = torch.finfo(dtype).max * (1 + torch.finfo(dtype).eps / 2)
    return tensor.to(torch.float64).clamp(-edge, edge)


class Reference:
    """A case recomputed by torch in float64, once, when it is asked for."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._results: list[tuple[torch.Tensor, torch.Tensor]] | None = None

    def result(self, position: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The reference of one result and its spread; None where torch has no float64 kernel."""
        if self._results is None:
            try:
                self._results = list(self._compute())
            except (RuntimeError, NotImplementedError, TypeError, ValueError):
                self._results = []
        return self._results[position] if position < len(self._results) else None

    def _compute(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        exact = self._run(0.0, 0)
        eps = torch.finfo(torch.float32).eps
        wide = [self._run(eps, seed) for seed in range(PERTURBATIONS)]
        narrow = [self._run(eps / 1024, seed) for seed in range(PERTURBATIONS)]
        taken = sum(tensor.numel() for tensor in self._case.tensors())
        for i, truth in enumerate(exact):
            # Numbers summed one after another, as MLX does on a CPU: sqrt(n) roundings that
            # are independent, n halves of a half where equal numbers all round one way.
            number = max(1.0, taken / max(1, truth.numel()))
            summed = max(math.sqrt(number), number / 4)
            spread = _spread(truth, [run[i] for run in wide])
            small = _spread(truth, [run[i] for run in narrow]) * 1024
            if self._case.spec.target in NORMWISE:
                dims = [
                    *self._case.arguments["dim"],
                    *range(self._case.tensors()[0].dim(), truth.dim()),
                ]
                spread, small = (s.amax(dims, keepdim=True).expand_as(s) for s in (spread, small))
            if self._case.spec.target in MATRIXWISE:
                dims = list(range(truth.dim()))[-2:]
                spread, small = (s.amax(dims, keepdim=True).expand_as(s) for s in (spread, small))
            # At a jump (floor, comparison) the result does not move in proportion: no excuse.
            spread = torch.where(small <= 4 * spread, spread * summed, 0.0)
            # Each of the numbers may have been flushed to zero.
            yield truth, spread + number * torch.finfo(torch.float32).smallest_normal

    def _run(self, scale: float, seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def widen(tensor: torch.Tensor) -> torch.Tensor:
            if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
                return tensor
            wide = tensor.to(torch.complex128 if tensor.dtype.is_complex else torch.float64)
            return _perturb(wide, scale, generator) if scale else wide

        values = tree_map_only(torch.Tensor, widen, self._converted())
        values = {
            name: _widen_dtype(value) if isinstance(value, torch.dtype) else value
            for name, value in values.items()
        }
        # Each call of a function rounds; within one call, that is the op's own business.
        is_function = scale and not isinstance(self._case.spec.target, OpOverload)
        with _Rounding(scale, generator) if is_function else nullcontext():
            results = flatten(self._case.run_torch(values))
        return [_view_parts(r) if r.is_complex() else r.to(torch.float64) for r in results]

    def _converted(self) -> dict[str, Any]:
        """The arguments, rounded to the dtype in which a reduction with `dtype` computes."""
        arguments = self._promoted()
        dtype = arguments.get("dtype")
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            return arguments
        return tree_map_only(torch.Tensor, lambda t: t.to(dtype), arguments)

    def _promoted(self) -> dict[str, Any]:
        """The arguments, operands of an elementwise op in the dtype to which torch brings them."""
        case = self._case
        if case.spec.promotion is None or not isinstance(case.spec.target, OpOverload):
            return dict(case.arguments)
        kind = case.spec.promotion
        kind = Promotion.DEFAULT if kind is Promotion.ALWAYS_BOOL else kind
        kinds = ("Tensor", "Optional[Tensor]", "number", "Optional[number]", "List[Tensor]")
        types = {a.name: str(a.type) for a in case.spec.target._schema.arguments}
        names = [n for n in case.arguments if types[n] in kinds]
        operands = [
            item
            for name in names
            for item in (flatten(case.arguments[name]) or [case.arguments[name]])
            if item is not None
        ]
        dtype = elementwise_dtypes(*operands, type_promotion_kind=kind)[1]
        if not dtype.is_floating_point:
            return dict(case.arguments)
        return {
            name: tree_map_only(torch.Tensor, lambda t: t.to(dtype), value)
            if name in names
            else value
            for name, value in case.arguments.items()
        }


class _Rounding(TorchDispatchMode):
    """Has the result of each call off by a rounding."""

    def __init__(self, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self._scale = scale
        self._generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.is_mutable:
            return result
        return tree_map_only(torch.Tensor, self._round, result)

    def _round(self, tensor: torch.Tensor) -> torch.Tensor:
        return _perturb(tensor, self._scale, self._generator)


def _widen_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else dtype


def _perturb(tensor: torch.Tensor, scale: float, generator: torch.Generator) -> torch.Tensor:
    if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        return tensor
    signs = torch.randint(0, 2, tensor.shape, generator=generator).double() * 2 - 1
    return tensor * (1 + scale * signs)


def _spread(truth: torch.Tensor, runs: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([(run - truth).abs() for run in runs]).amax(0).nan_to_num(0.0, 0.0, 0.0)


def _require(
    good: torch.Tensor,
    actual: torch.Tensor,
    expected: torch.Tensor,
    what: str,
    exact: torch.Tensor | None = None,
) -> None:
    if bool(good.all()):
        return
    index = tuple((~good).nonzero()[0].tolist())
    text = f"{what} at {index}: {actual[index].item()!r}, torch gives {expected[index].item()!r}"
    if exact is not None:
        text += f", float64 gives {exact[index].item()!r}"
    raise MismatchError(f"{text} ({int((~good).sum())} of {good.numel()} differ)")
