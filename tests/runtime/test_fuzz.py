"""Damaged and hostile payloads, and containers of others: clean errors, never a crash or a hang."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("mutations", "options"),
    [(20_000, ()), (1_000, ("--containers",))],
    ids=["payloads", "containers"],
)
def test_mutants(mutations: int, options: tuple[str, ...]):
    done = subprocess.run(
        [
            *(sys.executable, "-X", "faulthandler", "-m", "tests.runtime.fuzz"),
            *("1", str(mutations), *options),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *ended, last = done.stdout.splitlines()
    ran, total, crashed = map(int, last.split())
    assert crashed == 0, ended
    assert total == mutations
    # A fuzzer whose mutants are all refused at the door would test the door only.
    assert ran > total * 0.02


@pytest.mark.parametrize(
    ("seed", "number"),
    [
        pytest.param(1, 8260, id="a reflection longer than its signal"),
        pytest.param(2, 157737, id="a stride near 2^31"),
    ],
)
def test_mutants_that_ended_a_process(seed: int, number: int):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.runtime.fuzz", str(seed), str(number + 1)),
            *("--first", str(number)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.split()[-1] == "0", done.stdout
