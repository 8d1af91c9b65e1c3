"""Eager torch as the reference: methods called in sequence, their modules as before afterwards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.comparison import is_mutable, list_calls
from mlx_coverage.analyze.load import Exportable, Methods

# Outputs of a method, of inputs as `torch.utils._pytree` flattens them.
Call = Callable[[Sequence[Any]], list[Any]]


class Eager:
    """The methods of a model, in eager torch.

    Args:
        methods: that share their state where they share a buffer. An `ExportedProgram` runs
            as torch runs it, on the buffers of the module that it was exported from.
        programs: exported from them; they say how inputs are nested.
    """

    def __init__(self, methods: Methods, programs: Mapping[str, ExportedProgram]) -> None:
        self.modules = {
            name: given.module if isinstance(given, Exportable) else given.module()
            for name, given in methods.items()
        }
        self._specs = {
            name: pytree.tree_structure(program.example_inputs)
            for name, program in programs.items()
        }
        writes = any(map(_writes_parameters, programs.values()))
        self._tensors = _list_tensors(self.modules.values(), parameters=writes)
        self._start = self.save_state()

    def __call__(self, method: str, inputs: Sequence[Any]) -> list[Any]:
        """Outputs of one call, as a lowered program gives them; the inputs stay as they are.

        ExecuTorch does not write into inputs: what the model writes there comes as an output,
        before the others.
        """
        given = [v.clone() if isinstance(v, torch.Tensor) else v for v in inputs]
        versions = [_version(v) for v in given if isinstance(v, torch.Tensor)]
        args, kwargs = pytree.tree_unflatten(given, self._specs[method])
        with torch.no_grad():
            outputs = self.modules[method](*args, **kwargs)
            tensors = [v for v in given if isinstance(v, torch.Tensor)]
            pairs = zip(tensors, versions, strict=True)
            written = [v for v, version in pairs if _version(v) != version]
            leaves = [*written, *pytree.tree_leaves(outputs)]
            return [v.detach().clone() if isinstance(v, torch.Tensor) else v for v in leaves]

    def replay(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Outputs of the last of several calls."""
        return [self(method, inputs) for method, inputs in calls][-1]

    def list_state(self) -> list[tuple[int, int]]:
        """What changes when a call writes into a buffer, or puts another in its place."""
        tensors = _list_tensors(self.modules.values(), parameters=True)
        return [(id(tensor), _version(tensor)) for tensor in tensors]

    @contextmanager
    def keep_state(self) -> Iterator[None]:
        """Put back what calls change of the modules: tensors, and attributes of Python."""
        now = self.save_state()
        try:
            yield
        finally:
            now()

    @contextmanager
    def rewind(self) -> Iterator[None]:
        """The state that the modules had when this was made, and afterwards the present one."""
        with self.keep_state():
            self._start()
            yield

    def save_state(self) -> Callable[[], None]:
        """What puts the present state back."""
        modules = {id(m): m for root in self.modules.values() for m in root.modules()}
        attributes = [(module, _copy_attributes(module)) for module in modules.values()]
        values = [(t, _version(t), t.detach().clone()) for t in self._tensors if not t.is_meta]

        def restore() -> None:
            for module, saved in attributes:
                _put_back(module, saved)
            with torch.no_grad():
                for tensor, version, value in values:
                    if _version(tensor) != version:
                        tensor.copy_(value)

        return restore


def _version(tensor: torch.Tensor) -> int:
    # Those made in inference mode keep no count, and are not written into outside of it.
    return 0 if tensor.is_inference() else tensor._version


def _writes_parameters(program: ExportedProgram) -> bool:
    """Whether a call writes into a parameter, or a view of one."""
    names = program.graph_signature.inputs_to_parameters
    for node in filter(is_mutable, list_calls(program.graph_module)):
        root: Any = node
        while isinstance(root, Node) and root.args:
            root = root.args[0]
        if isinstance(root, Node) and root.name in names:
            return True
    return False


def _list_tensors(modules: Any, parameters: bool) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    for module in modules:
        for tensor in (*module.buffers(), *(module.parameters() if parameters else ())):
            found.setdefault(id(tensor), tensor)
    return list(found.values())


def _copy_attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and a shallow copy of those that a call may fill."""
    return {
        name: (value, type(value)(value) if type(value) in (dict, list, set) else None)
        for name, value in vars(module).items()
    }


def _put_back(module: nn.Module, saved: Mapping[str, tuple[Any, Any]]) -> None:
    for name in vars(module).keys() - saved.keys():
        del vars(module)[name]
    for name, (value, content) in saved.items():
        vars(module)[name] = value
        if isinstance(value, list) and content is not None:
            value[:] = content
        elif content is not None:
            value.clear()
            value.update(content)
