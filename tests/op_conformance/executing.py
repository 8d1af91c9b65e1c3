"""Run `.pte` files apart: ExecuTorch's portable kernels abort on dtypes that they lack.

`python -m tests.op_conformance.executing FOLDER` runs each `N.pte` on the tensors of
`N.in`, in a fork of its own, and writes the results to `N.out` where there are any.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def execute(
    folder: Path, programs: Sequence[tuple[bytes, Sequence[torch.Tensor]]]
) -> list[list[torch.Tensor] | None]:
    """The outputs of each program on its inputs; None where its kernels refuse, or abort."""
    for i, (program, inputs) in enumerate(programs):
        (folder / f"{i}.pte").write_bytes(program)
        torch.save(list(inputs), folder / f"{i}.in")
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    outs = [folder / f"{i}.out" for i in range(len(programs))]
    return [torch.load(out) if out.exists() else None for out in outs]


def main(folder: Path) -> None:
    """Run every program of the folder."""
    from executorch.runtime import Runtime

    import mlx_coverage.runtime

    mlx_coverage.runtime.load()
    runtime = Runtime.get()
    for path in folder.glob("*.pte"):
        process = os.fork()
        if process:
            os.waitpid(process, 0)
            continue
        try:
            method = runtime.load_program(path.read_bytes()).load_method("forward")
            results = method.execute(torch.load(path.with_suffix(".in")))
            torch.save([result.clone() for result in results], path.with_suffix(".out"))
        finally:
            os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
