"""Tests of mlx_coverage.analyze."""
