"""Run an entry's implementation on MLX arrays: promotion before, result dtype after.

Lowering calls it under the recorder, conformance with real arrays: one code path.
"""

from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch._ops import OpOverload
from torch._prims_common import elementwise_dtypes

from mlx_coverage.registry.call import Call
from mlx_coverage.registry.dtypes import MLX_NAMES
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.spec import OpSpec, Promotion


def evaluate(spec: OpSpec, call: Call, arguments: Mapping[str, Any]) -> Any:
    """Run `spec.implementation`.

    Args:
        spec: the entry.
        call: the same call on torch metadata; decides promotion and result dtypes.
        arguments: by ATen name: tensors as MLX arrays (or recorded ones), sizes as ints,
            dtypes as torch dtypes. Complex numbers reach the implementation as arrays.

    Returns:
        One array, or a tuple in schema order, in torch's result dtypes; a number for an
        op on sizes.
    """
    accepted = _parameters(spec.implementation)
    values = {name: value for name, value in arguments.items() if name in accepted}
    promoted = find_promoted(spec, call)
    if promoted is not None:
        for name in _operands(spec.target) & values.keys():
            values[name] = _cast_tensors(values[name], call.arguments[name], promoted)
    values = {
        name: _make_complex(value) if isinstance(value, complex) else value
        for name, value in values.items()
    }
    if "result_dtype" in accepted:
        values["result_dtype"] = mlx_dtype(call.results[0].dtype)
    values = {
        name: mlx_dtype(value) if isinstance(value, torch.dtype) else value
        for name, value in values.items()
    }
    return _cast_results(spec.implementation(**values), call.results)


def mlx_dtype(dtype: torch.dtype) -> Any:
    """The MLX dtype of a torch dtype."""
    return getattr(mx, MLX_NAMES[dtype])


def cast(array: Any, dtype: torch.dtype) -> Any:
    """`array` in `dtype`, itself when it is so already."""
    target = mlx_dtype(dtype)
    return array if array.dtype == target else mx.astype(array, target)


@cache
def _parameters(implementation: Callable[..., Any]) -> frozenset[str]:
    return frozenset(signature(implementation).parameters)


@cache
def _operands(target: OpOverload) -> frozenset[str]:
    """Names of the arguments that take part in type promotion: tensors and Scalars."""
    kinds = ("Tensor", "Optional[Tensor]", "number", "Optional[number]", "List[Tensor]")
    return frozenset(a.name for a in target._schema.arguments if str(a.type) in kinds)


def find_promoted(spec: OpSpec, call: Call) -> torch.dtype | None:
    """The dtype to which torch brings the operands; None where the entry asks for none."""
    if spec.promotion is None:
        return None
    operands = [call.arguments[name] for name in _operands(spec.target)]
    flat = [item for value in operands if value is not None for item in _flatten(value)]
    # A comparison's operands promote as usual; only its result is bool.
    always_bool = spec.promotion is Promotion.ALWAYS_BOOL
    kind = Promotion.DEFAULT if always_bool else spec.promotion
    # The result dtype, not the computation dtype: MLX's kernels round once as torch's do,
    # and an implementation of several steps widens by itself where it must.
    result: torch.dtype = elementwise_dtypes(*flat, type_promotion_kind=kind)[1]
    return result


def _flatten(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _cast_tensors(value: Any, meta: Any, dtype: torch.dtype) -> Any:
    if isinstance(meta, torch.Tensor):
        return cast(value, dtype)
    if isinstance(meta, (list, tuple)):
        return [_cast_tensors(v, m, dtype) for v, m in zip(value, meta, strict=True)]
    return value


def _make_complex(value: complex) -> Any:
    # MLX takes Python's complex numbers, a recorded program real ones only.
    return mx.squeeze(mx.view(mx.array([value.real, value.imag], mx.float32), mx.complex64), 0)


def _cast_results(results: Any, expected: tuple[Any, ...]) -> Any:
    if isinstance(results, (tuple, list)):
        return tuple(
            cast(value, meta.dtype) if isinstance(meta, torch.Tensor) else value
            for value, meta in zip(results, expected, strict=True)
        )
    meta = expected[0]
    return cast(results, meta.dtype) if isinstance(meta, torch.Tensor) else results
