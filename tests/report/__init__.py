"""Tests of mlx_coverage.report."""
