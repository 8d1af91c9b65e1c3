"""What a user of a package with a plug-in does; run in a process of its own.

`python -m tests.plugins.session` with the package on the path prints what it found as JSON.
"""

import contextlib
import io
import json

import torch
from torch import nn

import tests.conftest  # noqa: F401  (the profiles of Hypothesis)
from mlx_coverage.cli import main
from mlx_coverage.registry import default_registry
from mlx_coverage.testing import check_entry
from tests.e2e.lowering import lower, run_eagerly
from tests.op_conformance import test_inside


class Model(nn.Module):
    """One op with an entry, one with a decomposition, and one that torch has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mylib.softsign(torch.ops.mylib.cube(x), 0.5).tanh()


def run(*command: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command)
    return code, out.getvalue(), err.getvalue()


def report() -> dict[str, object]:
    """Everything that the test asserts on."""
    spec = default_registry().by_name["mylib.softsign.default"]
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    lowered = lower(Model(), x)
    (result,) = lowered.start()(x)
    (expected,) = run_eagerly(Model(), x)
    entries = [e for e in test_inside.ENTRIES if e.spec is spec]
    for entry in entries:
        test_inside.test_implementation_gives_torchs_results(entry)
    return {
        "family": spec.family,
        "delegates": len(lowered.delegates()),
        "fallbacks": lowered.fallbacks(),
        "largest_difference": float((result - expected).abs().max()),
        "conformance": sorted(map(str, entries)),
        "ops": run("ops", "mylib"),
        "entry": run("check", "--op", "mylib::softsign", "--output-format", "json"),
        "decomposed": run("check", "--op", "mylib::cube", "--output-format", "json"),
        "opaque": run("check", "--op", "mylib.opaque.default"),
        "checked": check_entry(torch.ops.mylib.softsign.default, (x,), {"scale": 2.0}),
    }


if __name__ == "__main__":
    print(json.dumps(report()))
