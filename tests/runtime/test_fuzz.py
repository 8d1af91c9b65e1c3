"""Damaged and hostile payloads: clean errors, never a crash or a hang."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTATIONS = 20_000


def test_mutated_payloads(tmp_path: Path):
    progress = tmp_path / "progress"
    done = subprocess.run(
        [
            *(sys.executable, "-X", "faulthandler", "-m", "tests.runtime.fuzz"),
            *(str(progress), "1", str(MUTATIONS)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    where = f"mutant {progress.read_text().strip()}" if progress.exists() else "before the first"
    assert done.returncode == 0, f"{where}:\n{done.stderr[-3000:]}"
    ran, total = map(int, done.stdout.split())
    assert total > MUTATIONS
    # A fuzzer whose mutants are all refused at the door would test the door only.
    assert ran > total * 0.02
