"""Conformance of every registry entry with eager torch, generated from the registry."""
