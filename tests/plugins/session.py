"""What a user of a package with a plug-in does; run in a process of its own.

`python -m tests.plugins.session` with the package on the path prints what it found as JSON.
"""

import contextlib
import io
import json
from typing import Any

import torch
from torch import nn

import tests.conftest  # noqa: F401  (the profiles of Hypothesis)
from mlx_coverage.cli import main
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.testing import check_entry
from tests.e2e.lowering import lower, run_eagerly
from tests.op_conformance import test_inside
from tests.plugins import distribution


class Model(nn.Module):
    """Ops with an entry and with a decomposition, a pattern, and an op that torch has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.ops.mylib.softsign(torch.ops.mylib.cube(x), 0.5).tanh()
        return y * torch.sigmoid(y * 1.5)


def run(*command: str) -> tuple[int, str]:
    """Exit code and stdout of a command."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(command)
    return code, out.getvalue()


def catch(op: Any, *args: Any) -> str:
    """What `check_entry` has against a call."""
    try:
        check_entry(op, args)
    except AssertionError as error:
        return str(error)
    return ""


def report() -> dict[str, object]:
    """Everything that the test asserts on."""
    spec = default_registry().by_name["mylib.softsign.default"]
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    lowered = lower(Model(), x)
    (result,) = lowered.start()(x)
    (expected,) = run_eagerly(Model(), x)
    entries = [entry for entry in test_inside.ENTRIES if entry.spec.family == spec.family]
    for entry in entries:
        test_inside.test_implementation_gives_torchs_results(entry)
    documented: dict[str, object] = {}
    exec(compile(distribution.TEST, "test_mylib", "exec"), documented)
    documented["test_softsign"](torch.bfloat16)  # type: ignore[operator]
    return {
        "family": spec.family,
        "delegates": len(lowered.delegates()),
        "fallbacks": lowered.fallbacks(),
        "ops": [name_target(canonicalize(n.target)) for n in lowered.plans["forward"].placements],
        "largest_difference": float((result - expected).abs().max()),
        "conformance": sorted(map(str, entries)),
        "wrong": catch(torch.ops.mylib.halved.default, x),
        "outside": catch(torch.ops.mylib.softsign.default, x.double()),
        "listed": run("ops", "mylib"),
        "entry": run("check", "--op", "mylib::softsign", "--output-format", "json"),
        "decomposed": run("check", "--op", "mylib::cube", "--output-format", "json"),
        "opaque": run("check", "--op", "mylib.opaque.default"),
    }


if __name__ == "__main__":
    print(json.dumps(report()))
