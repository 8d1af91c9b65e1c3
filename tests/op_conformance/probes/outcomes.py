"""What becomes of the probes that are not simply right on the delegate, by their names."""

_NAMES: dict[str, tuple[str, ...]] = {
    # ExecuTorch decomposes no such op, or refuses operands of two dtypes or a size that depends on data.
    "export/decomposition": (
        "torch.pow(y, x): float16[4], float32[]",
        "torch.pow(y, x): bfloat16[4], float32[]",
        "torch.pow(y, x): float16[4], bfloat16[4]",
        "torch.pow(y, x): int8[4], int64[]",
        "torch.where(y, x, z): float16[4], bool[4], float32[]",
        "torch.cat([x, y]): int64[4], float32[1]",
        "torch.cat([x, y]): bool[4], int8[4]",
        "torch.cat([x, y]): float16[4], bfloat16[4]",
        "torch.gcd(x, y): int64[7], int64[7]",
        "x.unique(sorted=True): int64[7]",
        "torch.gcd(x, y): int64[13], int64[13]",
        "torch.lgamma(x): float32[27]",
        "torch.lgamma(x): float16[27]",
        "torch.lgamma(x): bfloat16[27]",
        "torch.digamma(x): float32[27]",
        "torch.digamma(x): float16[27]",
        "torch.digamma(x): bfloat16[27]",
        "x.repeat_interleave(torch.tensor([1, 0, 2]), 1): float32[2, 3, 4]",
        "x.masked_select(y): float32[4, 5], bool[4, 5]",
    ),
    # The program holds no work.
    "identity": (
        "x.to(dtype): int64[9], dtype=torch.int64",
        "x.to(dtype): int32[9], dtype=torch.int32",
        "x.to(dtype): int16[9], dtype=torch.int16",
        "x.to(dtype): int8[9], dtype=torch.int8",
        "x.to(dtype): uint8[9], dtype=torch.uint8",
        "x.to(dtype): bool[4], dtype=torch.bool",
    ),
    # An entry declares the difference.
    "limited": (
        "torch.sin(x): float32[27]",
        "torch.sin(x): float16[27]",
        "torch.sin(x): bfloat16[27]",
        "torch.sin(x): float16[10]",
    ),
    "op/argument-value": (
        "F.scaled_dot_product_attention(q, k, v, dropout_p=0.5): float32[2, 4, 5, 16], float32[2, 4, 7, 16], float32[2, 4, 7, 16]",  # noqa: E501
    ),
    "op/data-dependent-shape": ("x.index_put((y,), v): float32[4, 5], bool[4, 5], float32[15]",),
    "op/dtype": (
        "x % 3: bool[4]",
        "torch.pow(y, x): bool[4], bfloat16[]",
        "x[:, None] @ y[None]: int64[7], int64[7]",
        "x.double().sum(): float32[12]",
        "torch.logspace(0, 2, 5) + x: float32[5]",
        "torch.nextafter(x, y): float16[169], float16[169]",
        "torch.float_power(x, y): float32[169], float32[169]",
        "torch.float_power(x, y): float16[169], float16[169]",
        "torch.float_power(x, y): bfloat16[169], bfloat16[169]",
        "x[y]: float32[4, 5], bool[4, 5]",
        "x[[True, False, True, False]]: float32[4, 5]",
    ),
    # ExecuTorch's own program of the expression differs as well, run by torch.
    "upstream": (
        "torch.linspace(-1, 1, 7) + x: float32[7]",
        "x // 1e-30: float16[16]",
        "torch.div(x, 0.3, rounding_mode='trunc'): float16[16]",
        "torch.div(x, 0.3, rounding_mode='trunc'): bfloat16[16]",
        "torch.div(x, -0.3, rounding_mode='trunc'): float16[16]",
        "torch.div(x, -0.3, rounding_mode='trunc'): bfloat16[16]",
        "torch.div(x, 1e-30, rounding_mode='trunc'): float16[16]",
        "F.scaled_dot_product_attention(q, k, v, m): float32[2, 4, 5, 16], float32[2, 4, 7, 16], float32[2, 4, 7, 16], float32[5, 7] #5",  # noqa: E501
        "F.scaled_dot_product_attention(q, k, v): float32[2, 4, 5, 16], float32[2, 4, 7, 16], float32[2, 4, 7, 16]",  # noqa: E501
    ),
}

# Probe name to the kind of its outcome; of a refusal, to the slugs of its reasons.
OUTCOMES = {name: outcome for outcome, names in _NAMES.items() for name in names}
