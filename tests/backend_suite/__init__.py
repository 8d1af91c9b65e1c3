"""ExecuTorch's own backend suite, run through this delegate: `make backend-suite`."""
