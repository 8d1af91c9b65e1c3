"""The delegate against the same computation written in plain `mlx.core`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.programs import Method, check_equal, lower, no_grad
from benchmarks.timing import describe_machine, print_table, time_functions
from examples import llama
from mlx_coverage.registry.mx import import_mlx

mx = import_mlx()  # with the same fast matrix products that the delegate has
GOAL = 1.05


def to_mlx(tensor: Tensor) -> Any:
    """A copy as an MLX array."""
    return mx.array(tensor.detach().numpy())


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """`torch.nn.functional.linear`."""
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


def gelu(x: Any) -> Any:
    """`torch.nn.functional.gelu`."""
    return x * (1 + mx.erf(x * 0.5**0.5)) * 0.5


class Perceptron(nn.Module):
    """512-2048-512 with GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(512, 2048), nn.Linear(2048, 512)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(nn.functional.gelu(self.up(x)))


def make_perceptron(batch: int) -> tuple[nn.Module, tuple[Any, ...], Callable[..., Any]]:
    """The module, its inputs and the same in plain MLX."""
    model = Perceptron()
    up, up_bias, down, down_bias = map(to_mlx, model.parameters())

    def run(x: Any) -> Any:
        return linear(gelu(linear(x, up, up_bias)), down, down_bias)

    return model, (torch.randn(batch, 512),), run


class Block(nn.Module):
    """A transformer encoder layer, norms first: width 256, 8 heads."""

    def __init__(self, width: int = 256, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.first_norm(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.second_norm(x))))


def make_block() -> tuple[nn.Module, tuple[Any, ...], Callable[..., Any]]:
    """The module, its inputs and the same in plain MLX."""
    model = Block()
    w = {name: to_mlx(value) for name, value in model.named_parameters()}

    def norm(x: Any, name: str) -> Any:
        return mx.fast.layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def project(x: Any, name: str) -> Any:
        return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def run(x: Any) -> Any:
        batch, length, width = x.shape
        qkv = project(norm(x, "first_norm"), "qkv").reshape(batch, length, 3, model.heads, -1)
        q, k, v = (part[0] for part in mx.split(qkv.transpose(2, 0, 3, 1, 4), 3))
        scale = (width // model.heads) ** -0.5
        attended = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale)
        x = x + project(attended.transpose(0, 2, 1, 3).reshape(batch, length, width), "out")
        return x + project(gelu(project(norm(x, "second_norm"), "up")), "down")

    return model, (torch.randn(1, 128, 256),), run


def make_decoder(position: int = 20) -> tuple[nn.Module, tuple[Any, ...], Callable[..., Any]]:
    """One token through a Llama of 4 layers, width 512, with a static cache of 64 tokens."""
    config = llama.configure(layers=4, hidden=512)
    model = llama.make_cached_decoder(config, torch.float32)
    w = {name.removeprefix("model."): to_mlx(v) for name, v in model.named_parameters()}
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    size = config.hidden_size // heads
    theta = config.rope_parameters["rope_theta"]
    shape = (1, kv_heads, config.max_position_embeddings, size)
    caches = [[mx.zeros(shape), mx.zeros(shape)] for _ in range(config.num_hidden_layers)]
    eps = config.rms_norm_eps

    def attend(x: Any, number: int, start: Any) -> Any:
        name = f"model.layers.{number}.self_attn"
        q, k, v = (
            linear(x, w[f"{name}.{p}_proj.weight"]).reshape(1, x.shape[1], -1, size)
            .transpose(0, 2, 1, 3) for p in "qkv"
        )  # fmt: skip
        rope = {"traditional": False, "base": theta, "scale": 1.0, "offset": start}
        q, k = mx.fast.rope(q, size, **rope), mx.fast.rope(k, size, **rope)
        cache = caches[number]
        for i, new in enumerate((k, v)):
            cache[i] = mx.slice_update(cache[i], new, start, axes=(2,))
        mask = (mx.arange(shape[2]) <= start).reshape(1, 1, 1, -1)
        out = mx.fast.scaled_dot_product_attention(
            q, cache[0], cache[1], scale=size**-0.5, mask=mask
        )
        out = out.transpose(0, 2, 1, 3).reshape(1, x.shape[1], -1)
        return linear(out, w[f"{name}.o_proj.weight"])

    def run(tokens: Any, positions: Any) -> Any:
        x = w["model.embed_tokens.weight"][tokens]
        for number in range(config.num_hidden_layers):
            name = f"model.layers.{number}"
            y = mx.fast.rms_norm(x, w[f"{name}.input_layernorm.weight"], eps)
            x = x + attend(y, number, positions)
            y = mx.fast.rms_norm(x, w[f"{name}.post_attention_layernorm.weight"], eps)
            gate = linear(y, w[f"{name}.mlp.gate_proj.weight"])
            up = linear(y, w[f"{name}.mlp.up_proj.weight"])
            x = x + linear(gate * mx.sigmoid(gate) * up, w[f"{name}.mlp.down_proj.weight"])
        x = mx.fast.rms_norm(x, w["model.norm.weight"], eps)
        logits = linear(x, w["lm_head.weight"])
        mx.eval(caches)
        return logits

    return model, (torch.tensor([[7]]), torch.tensor([position])), run


def compare(
    title: str, model: nn.Module, inputs: tuple[Any, ...], run: Callable[..., Any]
) -> float:
    """Time a module through the delegate, in plain MLX and in eager torch."""
    method = Method(lower(model.eval(), inputs))
    arrays = [to_mlx(value) for value in inputs]
    eager = no_grad(lambda: model(*inputs))
    expected = eager()
    check_equal(method(*inputs)[0], expected)
    check_equal(torch.tensor(run(*arrays).tolist()), expected)
    times = time_functions(
        {
            "plain mlx.core": lambda: mx.eval(run(*arrays)),
            "delegate": lambda: method(*inputs),
            "eager torch": eager,
        }
    )
    print_table(title, times, "plain mlx.core")
    return times["delegate"] / times["plain mlx.core"]


def main() -> None:
    """Print the three comparisons."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(describe_machine())
    ratios = [
        compare("MLP 512-2048-512, batch 1", *make_perceptron(1)),
        compare("MLP 512-2048-512, batch 64", *make_perceptron(64)),
        compare("transformer block, width 256, 128 tokens", *make_block()),
        compare("Llama decode step, 4 layers, width 512", *make_decoder()),
    ]
    print(f"\nworst ratio of delegate to plain mlx.core: {max(ratios):.2f} (goal: {GOAL})")


if __name__ == "__main__":
    main()
