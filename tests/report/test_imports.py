"""The report's model and its renderers need no torch, mlx or executorch."""

import subprocess
import sys


def test_reports_render_anywhere() -> None:
    code = (
        "import sys\n"
        "import mlx_coverage.report, mlx_coverage.cli\n"
        "print(sorted({'torch', 'mlx', 'executorch', 'numpy', 'mlx_coverage.lowering',"
        " 'mlx_coverage.registry'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
