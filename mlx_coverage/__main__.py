"""`python -m mlx_coverage`."""

import sys

from mlx_coverage.cli import main

if __name__ == "__main__":
    sys.exit(main())
