"""Damaged and hostile payloads: clean errors, never a crash or a hang."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTATIONS = 20_000


def test_mutated_payloads():
    done = subprocess.run(
        [
            *(sys.executable, "-X", "faulthandler", "-m", "tests.runtime.fuzz"),
            *("1", str(MUTATIONS)),
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
    assert total == MUTATIONS
    # A fuzzer whose mutants are all refused at the door would test the door only.
    assert ran > total * 0.02
