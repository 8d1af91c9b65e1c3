"""ExecuTorch's side of the delegate: a partition in, payload and named data out."""

from collections.abc import Sequence
from typing import final
from weakref import WeakValueDictionary

from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir.backend.backend_details import (
    BackendDetails,
    CompileSpec,
    ExportedProgram,
    PreprocessResult,
)

from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.translation import Recording, translate
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.spec import Registry

# ExecuTorch hands a backend bytes only: they name the registry that the partitioner goes by.
_registries: WeakValueDictionary[bytes, Registry] = WeakValueDictionary()
_REGISTRY = "registry"


def name_registry(registry: Registry) -> CompileSpec:
    """What tells the backend by which registry a partition was made, in this process."""
    name = str(id(registry)).encode()
    _registries[name] = registry
    return CompileSpec(_REGISTRY, name)


def _find_registry(specs: Sequence[CompileSpec]) -> Registry:
    names = [spec.value for spec in specs if spec.key == _REGISTRY]
    return _registries[names[0]] if names else default_registry()


# Key of the compile spec that names a buffer which other delegates hold as well.
SHARED_BUFFER = "shared_buffer"
# By this named data the delegates of a loaded program find each other; the runtime knows it.
_SESSION = "mlx_coverage/session"


def _map_steps(recording: Recording) -> dict[str, tuple[int, ...]]:
    """Debug handles of the nodes that steps are of, by the names of the runtime's events."""
    steps = zip(recording.program.calls, recording.owners, strict=True)
    return {
        f"{number} {call.function}": (int(node.meta.get("debug_handle", 0)),)
        for number, (call, node) in enumerate(steps)
    }


@final
class MLXCoverageBackend(BackendDetails):
    """Records a partition's MLX program. The class name is the backend id in the file."""

    @staticmethod
    def preprocess(
        edge_program: ExportedProgram, compile_specs: list[CompileSpec]
    ) -> PreprocessResult:
        """Record the partition; weights go to named data, the program to the payload.

        Raises:
            RecordError: an entry of the registry misbehaves (a defect of ours).
        """
        shared = [s.value.decode() for s in compile_specs if s.key == SHARED_BUFFER]
        recording = translate(edge_program, _find_registry(compile_specs), shared)
        store = NamedDataStore()
        if shared:
            store.add_named_data(_SESSION, bytes(1))
        for weight in recording.weights.values():
            weight.store(store)
        return PreprocessResult(
            processed_bytes=serialize(recording.program),
            data_store_output=store.get_named_data_store_output(),
            debug_handle_map=_map_steps(recording),
        )


@final
class MLXCoveragePlanBackend(BackendDetails):
    """Accepts a partition and records nothing, so that `check` needs no weights."""

    @staticmethod
    def preprocess(
        edge_program: ExportedProgram, compile_specs: list[CompileSpec]
    ) -> PreprocessResult:
        """Empty bytes: the lowered program shows what would be delegated."""
        return PreprocessResult(processed_bytes=b"")
