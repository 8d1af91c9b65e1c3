"""ExecuTorch's own MLX delegate, `executorch.backends.mlx`, as it is installed."""
