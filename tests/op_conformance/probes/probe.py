"""A probe: an expression of torch on adversarial inputs, written without the registry in view."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch._ops import OpOverload
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_map_only

from tests.op_conformance.cases import Case
from tests.op_conformance.operator_samples import Sample

HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float32, *HALVES)
SIGNED = (torch.int64, torch.int32, torch.int16, torch.int8)
INTEGERS = (*SIGNED, torch.uint8)

NAMES = {"torch": torch, "F": F, "math": math, "inf": math.inf, "nan": math.nan}


def is_input(value: Any) -> bool:
    """Whether an expression takes the value as an input of the program."""
    return isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Buffer)


class Expression(torch.nn.Module):
    """Python source as a module: its free names are tensors, modules or plain values.

    A module keeps its weights, a `torch.nn.Buffer` is a constant of the program, and every
    other tensor is an input.
    """

    def __init__(self, source: str, values: dict[str, Any]) -> None:
        super().__init__()
        self._function = eval(f"lambda {', '.join(values)}: {source}", NAMES)
        self._inputs = [n for n, v in values.items() if is_input(v)]
        self._others = [n for n in values if n not in self._inputs]
        for name in self._others:
            setattr(self, name, values[name])

    def forward(self, *inputs: torch.Tensor) -> Any:
        given = dict(zip(self._inputs, inputs, strict=True))
        return self._function(**given, **{name: getattr(self, name) for name in self._others})


@dataclass
class Probe(Sample):
    """One expression and its inputs.

    Attributes:
        raises: whether eager torch raises, because of the values.
    """

    raises: bool = False

    def as_case(self) -> Case:
        """As of a sample; the float64 reference widens weights and constants too."""
        case = super().as_case()
        module = self.function
        assert isinstance(module, Expression)
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        if isinstance(case.spec.target, OpOverload) or not state:
            return case

        def run(*tensors: torch.Tensor) -> list[torch.Tensor]:
            own = dict(zip(state, tensors, strict=False))
            results = tree_flatten(functional_call(module, own, tensors[len(own) :]))[0]
            return [result for result in results if isinstance(result, torch.Tensor)]

        tensors = [t.detach() for t in (*state.values(), *self.tensors)]
        spec = replace(case.spec, target=run, implementation=run)
        return Case(spec, {f"x{i}": tensor for i, tensor in enumerate(tensors)})


def probe(source: str, /, raises: bool = False, **values: Any) -> Probe:
    """A probe of an expression.

    Args:
        source: Python; sees `torch`, `F`, `math`, `inf`, `nan` and the values' names.
        raises: whether eager torch raises, because of the values.
        values: what the names in the source stand for, inputs in the order of the call.
    """
    expression = Expression(source, values).eval()
    inputs = [v for v in values.values() if is_input(v)]
    leaves, structure = tree_flatten((inputs[0], tuple(inputs[1:]), {}))
    kinds = [f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}" for t in inputs]
    others = [
        f"{n}={v}" for n, v in values.items() if isinstance(v, (bool, int, float, torch.dtype))
    ]
    name = f"{source}: {', '.join([*kinds, *others])}"
    return Probe(name, inputs[0].dtype, expression, leaves, structure, raises)


def sweep(source: str, dtypes: Iterable[torch.dtype], /, **values: Any) -> Iterator[Probe]:
    """A probe in each dtype: of its floating inputs and constants, or of all if none floats."""
    tensors = [v for v in values.values() if isinstance(v, torch.Tensor)]
    floating = any(t.is_floating_point() for t in tensors)

    def convert(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if floating and not tensor.is_floating_point():
            return tensor
        converted = tensor.to(dtype)
        return torch.nn.Buffer(converted) if isinstance(tensor, torch.nn.Buffer) else converted

    for dtype in dtypes:
        cast = partial(convert, dtype=dtype)
        yield probe(source, **tree_map_only(torch.Tensor, cast, values))


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Numbers of a normal distribution, the same in each process."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def constant(*shape: int, seed: int = 1, scale: float = 1.0) -> torch.Tensor:
    """Random numbers that are a constant of the program, such as a weight."""
    return torch.nn.Buffer(random(*shape, seed=seed, scale=scale))


def build(cls: type[torch.nn.Module], *args: Any, seed: int = 0, **kwargs: Any) -> torch.nn.Module:
    """A module with the same weights in each process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(*args, **kwargs).eval()


def grid(values: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every pair of values, as `x` and `y`."""
    return {"x": values.repeat_interleave(len(values)), "y": values.repeat(len(values))}
