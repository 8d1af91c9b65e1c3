"""Tests of mlx_coverage.cli."""
