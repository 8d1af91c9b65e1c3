"""Where a lowered program leaves eager torch, and whose fault is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from executorch.exir import ExecutorchProgramManager
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, OutputSpec, TensorArgument
from torch.fx import Graph, GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.capture import export_methods, lower_undelegated, write_methods
from mlx_coverage.analyze.comparison import (
    CallError,
    compare,
    find_tolerances,
)
from mlx_coverage.analyze.eager import Eager
from mlx_coverage.analyze.execution import load_methods, store
from mlx_coverage.analyze.failures import (
    CaptureError,
    DifferenceError,
    ForeignDifferenceError,
    InputError,
)
from mlx_coverage.analyze.load import Exportable, Methods
from mlx_coverage.analyze.sources import locate_node
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.dtypes import SCALAR_TYPES

Calls = Sequence[tuple[str, Sequence[Any]]]
Make = Callable[[], MLXPartitioner]

# So many values of the program are returned at a time: more would keep ops from being fused.
_TAPS = 24
_OURS = "a defect of mlx-coverage, please report it"


def attribute(
    difference: CallError, methods: Methods, programs: Mapping[str, ExportedProgram], make: Make
) -> Exception:
    """The error that says where the difference begins, and whose fault it is where that is shown.

    Args:
        difference: what was found.
        methods: the models; left as they are.
        programs: exported from them.
        make: gives the partitioner that they were lowered with.

    Returns:
        ForeignDifferenceError: torch.export's program, or ExecuTorch alone, gives it, too.
        DifferenceError: anything else.
    """
    return _Attribution(difference, methods, programs, make).judge()


class _Alone(NamedTuple):
    """How an op does on the operands that torch gives it: None where it does not run."""

    delegated: bool | None
    undelegated: bool | None


class _Attribution:
    def __init__(
        self,
        difference: CallError,
        methods: Methods,
        programs: Mapping[str, ExportedProgram],
        make: Make,
    ) -> None:
        self.difference = difference
        self.calls: Calls = difference.calls
        self.method = difference.calls[-1][0]
        self.methods = {name: methods[name] for name in programs}
        self.programs = programs
        self.make = make
        self.tolerances = find_tolerances(programs)[self.method]

    def judge(self) -> Exception:
        found, expected = self.difference.found, self._run_eagerly(self.methods)
        exported = self._run_eagerly(self.programs)
        if not self._agree(exported, expected) and (
            found is not None and self._agree(found, exported)
        ):
            return ForeignDifferenceError(
                f"{self.difference}; so does the program of torch.export in torch itself: rewrite "
                "what it exports otherwise than eager torch runs it, or leave --verify out"
            )
        alone = self._run_undelegated()
        node = self._locate() if found is not None else None
        sentence = f"{self.difference}{_place(node)}"
        if alone is not None and self._agree(alone, exported):
            return DifferenceError(
                f"{sentence}; ExecuTorch without a delegate computes what torch does: {_OURS}"
            )
        if alone is not None and found is not None and self._agree(found, alone):
            return _blame_executorch(sentence)
        piece = self._run_alone(node) if node is not None else _Alone(None, None)
        if piece.delegated is False and piece.undelegated is not False:
            return DifferenceError(
                f"{sentence}; the op alone, given torch's operands, differs on MLX: {_OURS}"
            )
        if alone is not None or piece.undelegated is False:
            return _blame_executorch(sentence)
        return DifferenceError(
            f"{sentence}; whose fault it is was not shown, because ExecuTorch without a delegate "
            "does not run the program; please report it"
        )

    def _agree(self, found: Sequence[Any], expected: Sequence[Any]) -> bool:
        return _agree(found, expected, self.tolerances)

    def _run_eagerly(self, methods: Methods) -> list[Any]:
        eager = Eager(methods, self.programs)
        with eager.keep_state():
            return eager.replay(self.calls)

    def _run_undelegated(self) -> list[Any] | None:
        try:
            # Lowering may have taken sizes of the others.
            return _replay(lower_undelegated(export_methods(self.methods)), self.calls)
        except (CaptureError, InputError):
            return None  # ExecuTorch alone does not run it

    def _locate(self) -> Node | None:
        """The first value of the program that is not torch's, the program being run with it."""
        try:
            programs = dict(export_methods(self.methods))
            functional = programs[self.method].run_decompositions({})
            nodes = list(filter(_is_tappable, functional.graph.nodes))
            return self._search(functional, nodes, programs)
        except Exception:  # noqa: BLE001  (with further results it may not lower: the difference stands)
            return None

    def _search(
        self,
        functional: ExportedProgram,
        nodes: Sequence[Node],
        programs: Mapping[str, ExportedProgram],
    ) -> Node | None:
        right, wrong = -1, len(nodes)
        while wrong - right > 1:
            step = max(1, -(-(wrong - right - 1) // _TAPS))
            chosen = list(range(right + step, wrong, step))
            tapped = tap(functional, [nodes[i] for i in chosen])
            first = self._find_first({**programs, self.method: tapped})
            if first is None:
                right = chosen[-1]
            else:
                right, wrong = (chosen[first - 1] if first else right), chosen[first]
        return nodes[wrong] if wrong < len(nodes) else None

    def _find_first(self, programs: Mapping[str, ExportedProgram]) -> int | None:
        """Which of the results of the method is the first that differs, in the first such call."""
        eager = Eager(programs, programs)
        least = max(self.tolerances, default=0.0)
        with store(write_methods(programs, self.make)) as path, eager.keep_state():
            loaded = load_methods(path)
            for name, inputs in self.calls:
                expected, found = eager(name, inputs), loaded[name](list(inputs))
                if name != self.method:
                    continue
                # The inputs that the program writes come first.
                taps = len(programs[name].graph_signature.user_outputs)
                try:
                    compare(name, found[-taps:], expected[-taps:], least)
                except DifferenceError as difference:
                    return difference.output
        return None

    def _run_alone(self, node: Node) -> _Alone:
        program = export_methods(self.methods)[self.method].run_decompositions({})
        args, kwargs = self._find_operands(program, node)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        piece = _Piece(node.target, leaves, spec)
        with torch.no_grad():
            expected = pytree.tree_leaves(piece(*tensors))
        given = {"forward": Exportable(piece.eval(), tuple(t.clone() for t in tensors))}

        def agrees(
            lower: Callable[[Mapping[str, ExportedProgram]], ExecutorchProgramManager],
        ) -> Any:
            try:
                found = _replay(lower(export_methods(given)), [("forward", tensors)])
            except Exception:  # noqa: BLE001  (one op alone may not lower: nothing is shown)
                return None
            return _agree(found, expected, max(self.tolerances, default=0.0))

        return _Alone(
            agrees(lambda programs: write_methods(programs, self.make)),
            agrees(lower_undelegated),
        )

    def _find_operands(self, program: ExportedProgram, node: Node) -> tuple[Any, Any]:
        """What torch gives to the node in the call that differs."""
        programs = {**self.programs, self.method: program}
        eager = Eager(programs, programs)
        module = eager.modules[self.method]
        assert isinstance(module, GraphModule)
        recorder = _Recorder(module, node.name)
        with eager.keep_state(), torch.no_grad():
            for call in self.calls[:-1]:
                eager(*call)
            recorder.run(*self.calls[-1][1])
        return recorder.operands


class _Recorder(Interpreter):
    """Keeps the operands of one node."""

    def __init__(self, module: GraphModule, name: str) -> None:
        super().__init__(module)
        self.name = name
        self.operands: tuple[Any, Any] = ((), {})

    def run_node(self, n: Node) -> Any:
        if n.name == self.name:
            given = self.fetch_args_kwargs_from_env(n)
            self.operands = pytree.tree_map_only(torch.Tensor, torch.clone, given)
        return super().run_node(n)


class _Piece(nn.Module):
    """One call, its tensors as inputs."""

    def __init__(self, target: Any, leaves: Sequence[Any], spec: pytree.TreeSpec) -> None:
        super().__init__()
        self.target, self.spec = target, spec
        self.leaves = [None if isinstance(v, torch.Tensor) else v for v in leaves]
        self.places = [i for i, v in enumerate(leaves) if isinstance(v, torch.Tensor)]

    def forward(self, *tensors: torch.Tensor) -> Any:
        """The results of the call."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return self.target(*args, **kwargs)


def tap(program: ExportedProgram, nodes: Sequence[Node]) -> ExportedProgram:
    """The program with values of its graph as its results, instead of its own.

    Args:
        program: functional; left as it is.
        nodes: of its graph, each with a tensor as its value.
    """
    graph = Graph()
    copies: dict[Node, Node] = {}
    graph.graph_copy(program.graph, copies)
    specs = program.graph_signature.output_specs
    outputs = program.graph.output_node().args[0]
    kept = [
        (spec, copies[value])
        for spec, value in zip(specs, outputs, strict=True)
        if spec.kind is not OutputKind.USER_OUTPUT
    ]
    tapped = [copies[node] for node in nodes]
    graph.output((*(value for _, value in kept), *tapped))
    results = [
        OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(name=node.name), None) for node in tapped
    ]
    signature = replace(
        program.graph_signature, output_specs=[*(spec for spec, _ in kept), *results]
    )
    whole, *parts = program.module_call_graph
    assert whole.signature is not None
    flat = pytree.tree_structure((0,) * len(tapped))
    return ExportedProgram(
        root=GraphModule(program.graph_module, graph),
        graph=graph,
        graph_signature=signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=[
            replace(whole, signature=replace(whole.signature, out_spec=flat)),
            *parts,
        ],
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=program.verifiers,
    )


def _is_tappable(node: Node) -> bool:
    value = node.meta.get("val")
    return (
        node.op == "call_function"
        and isinstance(value, torch.Tensor)
        and value.dtype in SCALAR_TYPES
    )


def _replay(program: ExecutorchProgramManager, calls: Calls) -> list[Any]:
    with store(program) as path:
        loaded = load_methods(path)
        return [loaded[method](list(inputs)) for method, inputs in calls][-1]


def _agree(
    found: Sequence[Any], expected: Sequence[Any], tolerances: Sequence[float] | float
) -> bool:
    try:
        compare("", found, expected, tolerances)
    except DifferenceError:
        return False
    return True


def _place(node: Node | None) -> str:
    if node is None:
        return "; no node was found at which it begins"
    source = locate_node(node)
    where = f" ({source.place})" if source.file else ""
    return f"; it begins at {name_target(canonicalize(node.target))}{where}"


def _blame_executorch(sentence: str) -> ForeignDifferenceError:
    return ForeignDifferenceError(
        f"{sentence}; so it does with nothing on MLX: rewrite the op that ExecuTorch's own kernels "
        "compute otherwise, or leave --verify out"
    )
