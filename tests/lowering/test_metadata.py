"""What nodes carry beside their meaning is there once, and only while it is needed."""

import gc
import weakref

import torch
from torch.fx import Graph

from mlx_coverage.lowering.metadata import forget_erased, share_origin


def test_erased_nodes_are_freed() -> None:
    graph = Graph()
    x = graph.placeholder("x")
    kept = graph.call_function(torch.sin, (x,))
    erased = weakref.ref(graph.call_function(torch.cos, (x,)))
    graph.output(kept)
    graph.eliminate_dead_code()
    forget_erased(graph)
    gc.collect()
    assert erased() is None
    assert graph.call_function(torch.cos, (x,)).name != kept.name
    assert [node.name for node in graph.nodes][:2] == ["x", "sin"]


def test_only_what_is_the_same_is_shared() -> None:
    graph = Graph()
    source, made = graph.placeholder("source"), graph.placeholder("made")
    source.meta = {"nn_module_stack": {"layer": ("layer", "Linear")}, "stack_trace": "line 1"}
    made.meta = {"nn_module_stack": {"layer": ("layer", "Linear")}, "stack_trace": "line 2"}
    share_origin(made, source)
    assert made.meta["nn_module_stack"] is source.meta["nn_module_stack"]
    assert made.meta["stack_trace"] == "line 2"
