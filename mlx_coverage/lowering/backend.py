"""ExecuTorch's side of the delegate: a partition in, payload and named data out."""

from typing import final

from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir.backend.backend_details import (
    BackendDetails,
    CompileSpec,
    ExportedProgram,
    PreprocessResult,
)

from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.translation import translate
from mlx_coverage.registry import default_registry

# Key of the compile spec that names a buffer which other delegates hold as well.
SHARED_BUFFER = "shared_buffer"
# By this named data the delegates of a loaded program find each other; the runtime knows it.
_SESSION = "mlx_coverage/session"


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
        recording = translate(edge_program, default_registry(), shared)
        store = NamedDataStore()
        if shared:
            store.add_named_data(_SESSION, bytes(1))
        for weight in recording.weights.values():
            weight.store(store)
        return PreprocessResult(
            processed_bytes=serialize(recording.program),
            data_store_output=store.get_named_data_store_output(),
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
