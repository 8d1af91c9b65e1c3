"""Write reports/generation.md: each language model of the zoo that generates, planned and run.

Minutes; each preset in a process of its own. At full size, methods and caches are planned without
weights; the small variant is lowered, run, and held against transformers' `generate`.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory import read_peak
from mlx_coverage.analyze import capture
from mlx_coverage.analyze.comparison import measure
from mlx_coverage.analyze.failures import CaptureError, InputError
from mlx_coverage.generation import ExportOptions, Program, export_source, open_source
from mlx_coverage.generation.cache import FullLayer, RecurrentLayer, RingLayer
from mlx_coverage.generation.export import choose_lengths, make_methods, prepare_model
from mlx_coverage.generation.quantization import parse_quantization, quantize
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.zoo import SMALL

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ("llama-3.2-1b", "qwen3-0.6b", "qwen3-4b", "phi-4-mini", "gemma-3-1b", "qwen3.5-35b-a3b")
PROMPT, STEPS, CONTEXT = 21, 64, 96
QUANTIZED = "4w:32"
HEADER = """# Generation

`make generation`, on a CPU. Left: methods and caches of the published size, planned without
weights (bfloat16, a context of 4096), and the memory that planning took. Right: the small variant
with random weights, lowered, run and compared with transformers: tokens of `generate` in float32
out of {steps}, the largest difference of logits relative to the largest, and the same beside eager
torch with `--quantize {quantized}`.

| model | methods: nodes, delegates | caches | bytes | memory | tokens | logits | quantized |
|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    """Write the page; with a preset's name, its figures as JSON on stdout."""
    if len(sys.argv) == 2:
        print(json.dumps({**plan_full(sys.argv[1]), **run_small(sys.argv[1])}))
        return 0
    rows = []
    for name in PRESETS:
        command = [sys.executable, "-W", "ignore", "-m", "tools.write_generation", name]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        rows.append(format_row(name, json.loads(done.stdout.splitlines()[-1])))
        print(rows[-1], flush=True)
    text = HEADER.format(steps=STEPS, quantized=QUANTIZED) + "\n".join(rows) + "\n"
    (ROOT / "reports" / "generation.md").write_text(text, encoding="utf-8")
    return 0


def plan_full(name: str) -> dict[str, Any]:
    """Delegates, caches and memory at the published size, one token a call with a recurrence."""
    source = open_source(f"zoo:{name}")
    assert source is not None
    source.config.dtype = torch.bfloat16
    model = source.make_absent_model()
    prepare_model(model)
    recurrent = "linear_attention" in (getattr(source.config, "layer_types", None) or ())
    options = ExportOptions(prefill_chunk=1 if recurrent else None)
    given = make_methods(source, model, options, choose_lengths(source.config, options))[0]
    plans = capture.plan_methods(
        capture.export_methods(given),
        MLXPartitioner,
        again=lambda method: capture.export_methods({method: given[method]})[method],
    ).plans
    layers = list(given["forward"].module.cache.layers)
    return {
        "methods": {n: (len(p.placements), len(p.partitions)) for n, p in plans.items()},
        "caches": Counter(describe_cache(layer) for layer in layers),
        "bytes": sum(buffer.nbytes for layer in layers for buffer in layer.buffers()),
        "memory": read_peak(),
    }


def describe_cache(layer: torch.nn.Module) -> str:
    """What a layer keeps, in a few words."""
    if isinstance(layer, RecurrentLayer):
        return "recurrent"
    assert isinstance(layer, FullLayer)
    kind = "ring" if isinstance(layer, RingLayer) else "full"
    return f"{kind} of {layer.keys.shape[2]}"


def run_small(name: str) -> dict[str, Any]:
    """Tokens and logits of the small variant."""
    source = open_source(f"zoo:{name}{SMALL}")
    assert source is not None
    source.config.initializer_range = 0.3  # random weights that give distinct tokens
    source.config.tie_word_embeddings = False
    model = source.load_model()
    prompt = torch.randint(3, 250, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    expected = model.generate(
        prompt, max_new_tokens=STEPS + 1, do_sample=False, eos_token_id=None, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    tokens, logits = run(source, ExportOptions(CONTEXT, 1 + STEPS // 16), prompt[0].tolist())
    wanted = expected.sequences[0, PROMPT : PROMPT + STEPS].tolist()
    same = sum(a == b for a, b in zip(tokens, wanted, strict=True))
    return {
        "tokens": same,
        "logits": measure(logits, torch.cat(expected.logits)),
        "quantized": run_quantized(source, prompt),
    }


def run_quantized(source: Any, prompt: torch.Tensor) -> str:
    """The difference of the prompt's last logits from eager torch's, or why there is none."""
    model = source.load_model()
    try:
        quantize(model, parse_quantization(QUANTIZED))
        _, logits = run(source, ExportOptions(CONTEXT, quantize=QUANTIZED), prompt[0].tolist(), 0)
    except (InputError, CaptureError) as error:
        return str(error)
    with torch.no_grad():
        expected = model(prompt, use_cache=False).logits[0, -1]
    return f"{measure(logits[0], expected):.1g}"


def run(
    source: Any, options: ExportOptions, prompt: list[int], steps: int = STEPS
) -> tuple[list[int], torch.Tensor]:
    """Tokens that follow the prompt, and the logits of each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pte"
        lowering = export_source(source, path, options).lowering
        assert lowering.program is not None, lowering.refusals
        session = Program(path).open_session()
        logits = [session.extend(prompt)]
        for _ in range(steps):
            logits.append(session.extend([int(logits[-1].argmax())]))
        return session.tokens[len(prompt) :], torch.stack(logits)


def format_row(name: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    methods = "; ".join(f"{n}: {nodes}, {parts}" for n, (nodes, parts) in found["methods"].items())
    caches = ", ".join(f"{count} {kind}" for kind, count in found["caches"].items())
    cells = (
        name, methods, caches, f"{found['bytes'] / 1e6:.1f} MB", f"{found['memory'] / 1e6:.0f} MB",
        found["tokens"], f"{found['logits']:.1g}", found["quantized"],
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
