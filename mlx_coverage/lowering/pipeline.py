"""torch's and ExecuTorch's public pipeline, by a shortcut wherever that takes the program.

The shortcut is optional. It never refuses: what it does not take, and whatever goes wrong in it,
takes the public way, whose word is final.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import GraphModule

from mlx_coverage.lowering.graphs import isolate

_log = logging.getLogger(__name__)


def run_decompositions(
    program: ExportedProgram, table: Mapping[Any, Callable[..., Any]]
) -> ExportedProgram:
    """`program.run_decompositions(table)`; the argument is left alone, and shares no dictionary."""
    found: ExportedProgram | None = _attempt("run_decompositions", program, table)
    if found is None:
        forget_pending(program)
        found = program.run_decompositions(dict(table))
    return isolate(found)


def forget_pending(program: ExportedProgram) -> None:
    """Let a program be traced again whose last trace ended early.

    torch notes each size that it reads from a tensor until a node is made for it, and takes what
    an unfinished trace leaves for an error of the next.
    """
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None and mode.shape_env is not None:
            mode.shape_env.pending_fresh_unbacked_symbols.clear()
            return


def convert_to_edge(program: ExportedProgram, kept: Sequence[OpOverload]) -> ExportedProgram | None:
    """The edge program that `to_edge_transform_and_lower` hands to a partitioner.

    Args:
        program: decomposed; it is used up.
        kept: the ops that the partitioner asked to keep whole.

    Returns:
        None where ExecuTorch itself is to be asked.
    """
    found: ExportedProgram | None = _attempt("convert_to_edge", program, kept)
    return found


def defer_code() -> AbstractContextManager[None]:
    """A scope in which graphs get no Python code before they are called: it saves memory."""
    found: AbstractContextManager[None] | None = _attempt("defer_code")
    return found if found is not None else nullcontext()


def recall_delegates(module: GraphModule) -> None:
    """Spare `to_executorch` running the delegates of a lowered graph for their results' shapes."""
    _attempt("recall_delegates", module)


def forget_traces() -> None:
    """Free what `torch.export` remembers of its last trace."""
    _attempt("forget_traces")


def _attempt(name: str, *args: Any) -> Any:
    try:
        from mlx_coverage.lowering import shortcut

        return getattr(shortcut, name)(*args)
    except Exception:  # noqa: BLE001  (the public way decides, and raises what is an error)
        _log.debug("the shortcut %s does not take the program", name, exc_info=True)
        return None
