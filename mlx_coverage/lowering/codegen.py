"""Graphs without the Python code that fx writes for each of them.

fx prints and compiles a function for every graph, anew after every pass. Few are ever
called; a function of 40,000 lines takes a second and 200 MB. torch's own lazy graph modules
do not reach exported programs, so the method that they override is replaced meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen

_recompile = GraphModule.recompile


@contextmanager
def defer_code() -> Iterator[None]:
    """Graph modules that are made or changed meanwhile get their code when they are called."""
    previous = GraphModule.recompile
    GraphModule.recompile = _defer  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        GraphModule.recompile = previous  # type: ignore[method-assign]


def _defer(module: GraphModule) -> None:
    codegen = module.graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):  # read without a call
        module._in_spec = codegen.pytree_info.in_spec
        module._out_spec = codegen.pytree_info.out_spec
    # Each graph module has a class of its own, as fx has it.
    type(module).forward = _generate_and_call


def _generate_and_call(module: GraphModule, *args: Any, **kwargs: Any) -> Any:
    _recompile(module)
    return module(*args, **kwargs)
