"""Models that a test suite, the benchmarks and the documents share; one file per family."""
