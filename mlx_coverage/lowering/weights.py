"""The bytes of constants, on their way to ExecuTorch's named data without extra copies."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from executorch.exir._serialize._cord import FileBackedData
from executorch.exir._serialize._named_data_store import NamedDataStore

from mlx_coverage.registry.dtypes import MLX_NAMES, SCALAR_TYPES
from mlx_coverage.registry.mx import import_mlx

# Metal wraps memory without a copy only when it is page aligned (16 KiB on Apple silicon).
# Below 128 pages the padding would cost more of the file than the copy is worth.
_PAGE = 16384
_LARGE = 128 * _PAGE
_ALIGNMENT = 64  # of small weights: a cache line


@dataclass(frozen=True)
class Weight:
    """A contiguous tensor on its way into the program file.

    Attributes:
        data: flat uint8 view of the tensor's own memory where it is contiguous.
        dtype: `c10::ScalarType` number.
        dims: shape.
    """

    data: np.ndarray[Any, np.dtype[np.uint8]]
    dtype: int
    dims: tuple[int, ...]

    @classmethod
    def from_tensor(cls, tensor: torch.Tensor) -> "Weight":
        """Wrap a CPU tensor; a non-contiguous one is copied once."""
        flat = tensor.detach().contiguous().reshape(-1)
        dtype, dims = SCALAR_TYPES[tensor.dtype], tuple(tensor.shape)
        return cls(flat.view(torch.uint8).numpy(), dtype, dims)

    @classmethod
    def from_array(cls, array: Any) -> "Weight":
        """Evaluate an MLX array and take its bytes."""
        mlx = import_mlx()
        name = str(array.dtype).removeprefix("mlx.core.")
        dtype = next(t for t, n in MLX_NAMES.items() if n.removesuffix("_") == name)
        flat = mlx.view(mlx.reshape(mlx.contiguous(array), (-1,)), mlx.uint8)
        return cls(np.array(flat, copy=True), SCALAR_TYPES[dtype], tuple(array.shape))

    @cached_property
    def key(self) -> str:
        """Named by content, so that equal weights are stored once, also across methods."""
        digest = hashlib.blake2b(self.data.data, digest_size=16).hexdigest()
        return f"mlx_coverage/{digest}"

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self.data.nbytes)

    def is_zero(self) -> bool:
        """Whether every byte is zero: a state then needs no stored value."""
        return not self.data.any()

    def load(self) -> Any:
        """The weight as an MLX array (a copy)."""
        mlx = import_mlx()
        torch_dtype = next(t for t, code in SCALAR_TYPES.items() if code == self.dtype)
        if self.nbytes == 0:
            return mlx.zeros(self.dims, getattr(mlx, MLX_NAMES[torch_dtype]))
        flat = mlx.view(mlx.array(self.data), getattr(mlx, MLX_NAMES[torch_dtype]))
        return mlx.reshape(flat, self.dims)

    def store(self, store: NamedDataStore) -> None:
        """Add the bytes to ExecuTorch's named data; large ones go by a file, not by memory.

        A weight without elements has no bytes to add: its type in the payload says it all.
        """
        if self.nbytes == 0:
            return
        if self.nbytes < _LARGE:
            store.add_named_data(self.key, self.data.tobytes(), alignment=_ALIGNMENT)
            return
        if self.key in store.key_to_buffer_idx:
            return
        handle, path = tempfile.mkstemp(prefix="mlx_coverage_", suffix=".weight")
        with os.fdopen(handle, "wb") as file:
            file.write(self.data.data)
        store.add_named_data(self.key, FileBackedData(path, cleanup=True), alignment=_PAGE)
