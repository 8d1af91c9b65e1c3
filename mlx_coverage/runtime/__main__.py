"""`python -m mlx_coverage.runtime`: build the runtime ahead, or print flags for a C++ host."""

import argparse
import shlex
import sys

from mlx_coverage.runtime.build import build
from mlx_coverage.runtime.errors import RuntimeUnavailable
from mlx_coverage.runtime.functions import SOURCES
from mlx_coverage.runtime.toolchain import find_toolchain


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m mlx_coverage.runtime", description=__doc__)
    parser.add_argument(
        "--flags", action="store_true", help="print compile and link flags for a C++ host"
    )
    arguments = parser.parse_args()
    try:
        library = build(verbose=True)
        if not arguments.flags:
            print(library)
            return 0
        toolchain = find_toolchain()
    except RuntimeUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(
        shlex.join(
            [
                *toolchain.compile_flags,
                f"-I{SOURCES}",
                str(library),
                f"-Wl,-rpath,{library.parent}",
                *toolchain.link_flags,
            ]
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
