"""What is to be known of a model before any figure: its mode, and sizes without a bound."""

from collections.abc import Iterator, Mapping
from types import FunctionType

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._sympy.numbers import int_oo

from mlx_coverage.analyze.hierarchy import INDEX_IN_PATH
from mlx_coverage.analyze.load import Exportable, Methods
from mlx_coverage.analyze.model import Source
from mlx_coverage.analyze.sources import locate_node
from mlx_coverage.registry.call import bind

_SHOWN = 4
# Arguments of ATen ops that say whether the model is being trained.
_FLAGS = ("train", "training")


def list_remarks(methods: Methods, programs: Mapping[str, ExportedProgram]) -> tuple[str, ...]:
    """One sentence each; that of training mode comes first.

    Args:
        methods: the models, as they were opened.
        programs: the exported methods.
    """
    found = [
        *(text for given in methods.values() for text in _describe_mode(given)),
        *(text for given in methods.values() for text in _describe_experts(given)),
        *(text for program in programs.values() for text in _describe_bounds(program)),
    ]
    return tuple(dict.fromkeys(found))


def _describe_mode(given: Exportable | ExportedProgram) -> Iterator[str]:
    if isinstance(given, ExportedProgram):
        places = dict.fromkeys(_list_trained(given))
        if places:
            lines = ", ".join(place.place for place in places if place.file)
            yield (
                f"The program was exported in training mode{f' ({lines})' if lines else ''}: call "
                ".eval() on the model and export it again."
            )
        return
    training = {
        name: module
        for name, module in given.module.named_modules()
        if module.training and _reads_mode(type(module))
    }
    if not training:
        return
    groups: dict[tuple[str, str], list[str]] = {}
    for name, module in training.items():
        key = (INDEX_IN_PATH.sub("*", name), type(module).__name__)
        groups.setdefault(key, []).append(name)
    named = [
        f"{kind} {names[0]}".strip() if len(names) == 1 else f"{len(names)} {kind} {path}"
        for (path, kind), names in groups.items()
    ]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    shown = f"{', '.join(named[:_SHOWN])}{more}"
    if given.module.training:
        yield (
            "The model is in training mode, call .eval() before exporting: what computes otherwise "
            f"in it is {shown}."
        )
    else:
        yield (
            f"Parts of the model are in training mode, call .eval() on the whole of it: {shown}."
        )


def _reads_mode(kind: type) -> bool:
    """Whether a class of modules computes otherwise in training mode: its code reads the flag."""
    bases = kind.__mro__[: kind.__mro__.index(torch.nn.Module)]
    functions = (f for base in bases for n, f in vars(base).items() if n not in ("train", "eval"))
    return any(
        isinstance(function, FunctionType) and "training" in function.__code__.co_names
        for function in functions
    )


def _list_trained(program: ExportedProgram) -> Iterator[Source]:
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            arguments = bind(node.target, node.args, node.kwargs)
            if any(arguments.get(flag) is True for flag in _FLAGS):
                yield locate_node(node)


def _describe_experts(given: Exportable | ExportedProgram) -> Iterator[str]:
    """That transformers can compute a mixture of experts in a form that lowers whole."""
    module = given.module if isinstance(given, Exportable) else None
    for part in module.modules() if module is not None else ():
        chosen = getattr(getattr(part, "config", None), "_experts_implementation", None)
        can = getattr(part, "_can_set_experts_implementation", None)
        if chosen not in (None, "batched_mm") and can is not None and can():
            yield (
                f'The experts are computed by experts_implementation="{chosen}": '
                'model.set_experts_implementation("batched_mm") gives products of fixed sizes, '
                "which run on MLX."
            )
            return


def _describe_bounds(program: ExportedProgram) -> Iterator[str]:
    """Inputs whose dynamic sizes are fixed by ExecuTorch, which plans memory for the largest."""
    inputs = {name for name in program.graph_signature.user_inputs if isinstance(name, str)}
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name in inputs:
            yield from _describe_sizes(node)


def _describe_sizes(node: Node) -> Iterator[str]:
    value = node.meta.get("val")
    for axis, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
        if isinstance(size, torch.SymInt) and size.node.has_hint():
            bound = size.node.shape_env.bound_sympy(size.node.expr).upper
            if bound is int_oo:
                yield (
                    f"Dimension {axis} of the input `{node.name}` has no upper bound, so "
                    f"ExecuTorch plans memory for its size in the example, {size.node.hint}, and "
                    "refuses a larger one: give torch.export.Dim a max."
                )
