"""What the registry holds: entries, gaps, patterns, and families of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from typing import Any

import torch
from torch._ops import OpOverload
from torch._prims_common import (
    ELEMENTWISE_TYPE_PROMOTION_KIND as Promotion,  # noqa: N811  (it is an enum)
)

from mlx_coverage.registry.call import Target, name_target
from mlx_coverage.registry.rules import Dtype, Rule
from mlx_coverage.registry.samples import Number, Samples, binary, complete, elementwise

__all__ = ["Family", "Gap", "Limitation", "OpSpec", "Pattern", "Promotion", "Registry", "Tolerance"]


@dataclass(frozen=True)
class Limitation:
    """A known difference from torch inside the declared domain.

    It must still be observable: conformance fails when a limitation no longer shows.

    Attributes:
        what: one sentence, for the op page.
        why: the cause, with a reference where there is one.
        dtypes: where it holds; empty means all.
        device: `cpu`, `gpu` or None for both.
        avoids: name of the value class that conformance leaves out because of it
            (`nan`, `inf`, `negative_zero`, `subnormal`, `zero_size`), or None.
    """

    what: str
    why: str
    dtypes: frozenset[torch.dtype] = frozenset()
    device: str | None = None
    avoids: str | None = None


@dataclass(frozen=True)
class Tolerance:
    """An override of the numeric criterion for one entry, with its reason.

    Attributes:
        relative, absolute: against torch's result in the result dtype.
        why: where the bound comes from.
    """

    relative: float
    absolute: float
    why: str


@dataclass(frozen=True)
class Gap:
    """An op that we know and do not map, so that the op page has a true denominator.

    Attributes:
        target: the ATen overload.
        why: one sentence saying why MLX cannot express it, or what would be needed.
        kind: slug of the reason (`op/known-gap`, `op/random`, `op/data-dependent-shape`).
    """

    target: OpOverload
    why: str
    kind: str = "op/known-gap"


@dataclass(frozen=True, eq=False)
class OpSpec:
    """One entry: an ATen overload, its MLX implementation and the domain where that is right.

    Attributes:
        target: exact ATen overload, or a Python function on sizes (`operator.mul`).
        implementation: plain MLX code; parameters are named as in the ATen schema and
            may be a subset of it (the rules pin the rest). Tensors are MLX arrays,
            dtypes MLX dtypes, sizes ints. A keyword parameter `result_dtype`, where
            declared, receives the MLX dtype of the first result.
        rules: the domain; all must hold.
        samples: how valid inputs relate.
        promotion: torch's elementwise promotion applied to the tensor operands before
            the implementation runs, or None where operands are passed as they are.
        whole: kept from ExecuTorch's decompositions, because the fused form is faster
            or more exact.
        view: no arithmetic: a partition of views alone does not pay.
        limitations, tolerance: known differences and numeric overrides.
        family: name of the family that holds it.
    """

    target: Target
    implementation: Callable[..., Any]
    rules: tuple[Rule, ...]
    samples: Samples | None
    promotion: Promotion | None = None
    whole: bool = False
    view: bool = False
    limitations: tuple[Limitation, ...] = ()
    tolerance: Tolerance | None = None
    family: str = ""

    @property
    def name(self) -> str:
        """`aten.add.Tensor`."""
        return name_target(self.target)

    @property
    def schema(self) -> str:
        """Torch's own schema text; for a function on sizes, its name."""
        return str(getattr(self.target, "_schema", self.name))


@dataclass(frozen=True, eq=False)
class Pattern:
    """Several ATen nodes implemented as one.

    The torch function is the description of the subgraph and its reference: lowering
    traces it, matches it in the user's program, and puts the op `mlx_coverage::NAME` in
    its place where the rules hold. An `OpSpec` of that op is part of the registry, so
    it is judged, placed, documented and tested like any other.

    Attributes:
        torch_function: plain torch code with annotated parameters; those of which `samples`
            says that they are tensors are matched to nodes (optional ones also to None),
            `float` and `int` ones to literals.
        spec: the entry of the substituted op.
        anchor: an op that every match holds: tracing takes longer than to look for it first.
        find: for a subgraph that is spelled in many ways, what reads the arguments off the call
            of the anchor that ends it, or says None; tracing finds one spelling.
    """

    torch_function: Callable[..., Any]
    spec: OpSpec
    anchor: OpOverload | None = None
    find: Callable[[Any], tuple[Any, ...] | None] | None = None


@dataclass
class Family:
    """Entries that belong together: one file of `registry/ops`."""

    name: str
    specs: list[OpSpec] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    patterns: list[Pattern] = field(default_factory=list)
    decompositions: dict[OpOverload | str, Callable[..., Any]] = field(default_factory=dict)

    def op(
        self,
        *targets: Target | str,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare the decorated function as the implementation of each target, as `add` does.

        An op that some supported torch lacks is given by its name, `aten::cholesky`, and has an
        entry where torch has the op.
        """

        def declare(implementation: Callable[..., Any]) -> Callable[..., Any]:
            found = [_find_op(t) if isinstance(t, str) else t for t in targets]
            for target in filter(None, found):
                self.add(target, implementation, **options)
            return implementation

        return declare

    def add(
        self,
        target: Target,
        implementation: Callable[..., Any],
        *,
        dtypes: frozenset[torch.dtype] | None = None,
        samples: Samples | None = None,
        rules: Iterable[Rule] = (),
        **options: Any,
    ) -> None:
        """Declare one entry as a row.

        Args:
            target: its op.
            implementation: of the op.
            dtypes: what every tensor argument may be, where that is the same; `Dtype` rules.
            samples: how valid inputs relate. `dim` and `keepdim` follow from the schema, where
                they are not given; where nothing is, `self` has any shape.
            rules: the other rules of the domain.
            options: further fields of `OpSpec`.
        """
        if isinstance(target, OpOverload):
            types = {a.name: str(a.type) for a in target._schema.arguments}
            tensors = [name for name, kind in types.items() if "Tensor" in kind]
            if dtypes is not None:
                rules = [*(Dtype(name, dtypes) for name in tensors), *rules]
            if samples is None and tensors == ["self"]:
                samples = elementwise()
            samples = samples and complete(samples, types)
        rules = tuple(rules)
        self.specs.append(
            OpSpec(target, implementation, rules, samples, family=self.name, **options)
        )

    def unary(
        self,
        dtypes: frozenset[torch.dtype],
        table: Mapping[OpOverload, Callable[..., Any]],
        **options: Any,
    ) -> None:
        """Declare elementwise functions of one tensor `self` as rows.

        Args:
            dtypes: accepted dtypes of `self`.
            table: overload to an MLX function of one array.
            options: as for `add`.
        """
        for target, function in table.items():
            self.add(
                target,
                _rename_operands(function, "self"),
                **{"samples": elementwise(), "rules": [Dtype("self", dtypes)], **options},
            )

    def binary(
        self,
        dtypes: frozenset[torch.dtype],
        table: Mapping[OpOverload, Callable[..., Any]],
        **options: Any,
    ) -> None:
        """Declare functions of `self` and `other` (tensor or scalar) as rows.

        Shapes broadcast and dtypes promote as torch's do, unless `promotion` says otherwise.
        """
        for target, function in table.items():
            scalar = str(target._schema.arguments[1].type) == "number"
            rules = [Dtype("self", dtypes)] + ([] if scalar else [Dtype("other", dtypes)])
            samples = elementwise(other=Number()) if scalar else binary()
            self.add(
                target,
                _rename_operands(function, "self", "other"),
                **{
                    "samples": samples,
                    "rules": rules,
                    "promotion": Promotion.DEFAULT,
                    **options,
                },
            )

    def pattern(
        self,
        torch_function: Callable[..., Any],
        *,
        samples: Samples,
        rules: Iterable[Rule] = (),
        anchor: OpOverload | None = None,
        find: Callable[[Any], tuple[Any, ...] | None] | None = None,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare the decorated MLX function as the implementation of a torch function.

        The op that is substituted is `mlx_coverage::NAME`, NAME being the torch function's.
        With an `anchor`, the function is traced only for programs that hold that op; with
        `find` (see `Pattern`), it is not traced at all.
        """

        def declare(implementation: Callable[..., Any]) -> Callable[..., Any]:
            target = define_op(torch_function)
            self.add(target, implementation, samples=samples, rules=rules, whole=True, **options)
            self.patterns.append(Pattern(torch_function, self.specs[-1], anchor, find))
            return implementation

        return declare

    def decomposition(
        self, *targets: OpOverload | str
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare the decorated torch code as what the calls of each target are replaced by.

        An op of a package that need not be installed is given by its name, `torchao::name`.

        Calls of an op that also has an entry, which is then declared `whole`, are replaced
        only where the entry declines them.
        """

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            for target in targets:
                if target in self.decompositions:
                    raise ValueError(f"the decomposition of {target} is declared twice")
                self.decompositions[target] = function
            return function

        return declare

    def gap(self, why: str, *targets: OpOverload, kind: str = "op/known-gap") -> None:
        """Declare ops that we know and do not map."""
        self.gaps.extend(Gap(target, why, kind) for target in targets)


def define_op(torch_function: Callable[..., Any]) -> OpOverload:
    """Register `mlx_coverage::NAME` with the torch function as its meaning on every device.

    Raises:
        ValueError: there is a pattern of that name.
    """
    name = f"mlx_coverage::{torch_function.__name__}"
    if hasattr(torch.ops.mlx_coverage, torch_function.__name__):
        raise ValueError(f"the pattern {torch_function.__name__} is declared twice in the registry")
    op = torch.library.custom_op(name, torch_function, mutates_args=())
    op.register_fake(torch_function)
    return op._opoverload


def _find_op(target: OpOverload | str) -> OpOverload | None:
    """The op, or the one of that name; None while nothing has registered it."""
    if isinstance(target, OpOverload):
        return target
    namespace, _, name = target.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return None if packet is None else packet.default


def _rename_operands(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    # Arguments arrive by ATen name; MLX's own functions take them by position.
    def implementation(**arguments: Any) -> Any:
        return function(*(arguments[name] for name in names))

    parameters = [Parameter(name, Parameter.KEYWORD_ONLY) for name in names]
    implementation.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    implementation.__name__ = getattr(function, "__name__", "implementation")
    return implementation


class Registry:
    """All entries, gaps, patterns and decompositions. Immutable; built explicitly from families.

    Attributes:
        patterns: in order of declaration.
    """

    def __init__(self, families: Sequence[Family]) -> None:
        """Raises ValueError for what is declared twice, and for what would never be used."""
        self._specs: dict[Target, OpSpec] = {}
        self._gaps: dict[Target, Gap] = {}
        self.patterns: tuple[Pattern, ...] = tuple(p for f in families for p in f.patterns)
        for family in families:
            for spec in family.specs:
                self._insert(self._specs, spec.target, spec)
            for gap in family.gaps:
                self._insert(self._gaps, gap.target, gap)
        self._decompositions: dict[OpOverload | str, Callable[..., Any]] = {}
        for family in families:
            for target, function in family.decompositions.items():
                self._check_decomposition(target)
                self._decompositions[target] = function

    @property
    def decompositions(self) -> Mapping[OpOverload, Callable[..., Any]]:
        """What calls of an op are replaced by, beside torch's and ExecuTorch's.

        Those of ops given by name are among them from when the op is registered.
        """
        found = {_find_op(target): function for target, function in self._decompositions.items()}
        return {op: function for op, function in found.items() if op is not None}

    def _check_decomposition(self, target: OpOverload | str) -> None:
        if target in self._decompositions:
            raise ValueError(f"the decomposition of {target} is declared twice in the registry")
        spec = None if isinstance(target, str) else self._specs.get(target)
        if spec is not None and not spec.whole:
            raise ValueError(
                f"{target} has an entry and a decomposition; declare the entry whole=True, so "
                "that the decomposition is used where the entry declines a call"
            )

    def _insert(self, table: dict[Target, Any], target: Target, value: Any) -> None:
        if target in self._specs or target in self._gaps:
            raise ValueError(f"{name_target(target)} is declared twice in the registry")
        table[target] = value

    def __iter__(self) -> Iterator[OpSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    def get(self, target: Target) -> OpSpec | None:
        """The entry of a canonical target, or None."""
        return self._specs.get(target)

    def get_gap(self, target: Target) -> Gap | None:
        """The gap of a canonical target, or None."""
        return self._gaps.get(target)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """All gaps, in order of declaration."""
        return tuple(self._gaps.values())

    @property
    def by_name(self) -> Mapping[str, OpSpec]:
        """Entries by `aten.add.Tensor`."""
        return {spec.name: spec for spec in self}
