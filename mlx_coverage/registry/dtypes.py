"""torch dtypes, the MLX dtypes they map to, and the named sets that rules use."""

import torch

# MLX dtypes by name, so that nothing here imports mlx.
MLX_NAMES: dict[torch.dtype, str] = {
    torch.bool: "bool_",
    torch.uint8: "uint8",
    torch.uint16: "uint16",
    torch.uint32: "uint32",
    torch.uint64: "uint64",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
    torch.complex64: "complex64",
}

# c10::ScalarType numbers, which ExecuTorch's tensors and the payload use.
SCALAR_TYPES: dict[torch.dtype, int] = {
    torch.uint8: 0,
    torch.int8: 1,
    torch.int16: 2,
    torch.int32: 3,
    torch.int64: 4,
    torch.float16: 5,
    torch.float32: 6,
    torch.float64: 7,
    torch.complex64: 9,
    torch.bool: 11,
    torch.bfloat16: 15,
    torch.uint16: 27,
    torch.uint32: 28,
    torch.uint64: 29,
}
SCALAR_TYPES_BY_MLX_NAME: dict[str, int] = {
    name: SCALAR_TYPES[dtype] for dtype, name in MLX_NAMES.items()
}

FLOAT = frozenset({torch.float16, torch.bfloat16, torch.float32})
SIGNED = frozenset({torch.int8, torch.int16, torch.int32, torch.int64})
INTEGER = SIGNED | {torch.uint8}
BOOL = frozenset({torch.bool})
COMPLEX = frozenset({torch.complex64})
INDEX = frozenset({torch.int32, torch.int64})
NUMBER = FLOAT | INTEGER
ANY = NUMBER | BOOL


def name_dtype(dtype: torch.dtype) -> str:
    """The name users write, without the ``torch.`` prefix."""
    return str(dtype).removeprefix("torch.")


def list_dtypes(dtypes: frozenset[torch.dtype]) -> str:
    """The names of a set, in a fixed order, for sentences."""
    return ", ".join(name_dtype(d) for d in sorted(dtypes, key=lambda d: (_rank(d), str(d))))


def _rank(dtype: torch.dtype) -> tuple[int, int]:
    category = 0 if dtype == torch.bool else 1 if not dtype.is_floating_point else 2
    return category, dtype.itemsize
