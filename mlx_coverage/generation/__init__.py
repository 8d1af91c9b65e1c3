"""Generators: from a published model to one program file, and from that to text.

`export_source(open_source("hf:FOLDER"), path)` writes a file; `TextGenerator(path)` runs it. The
extra `generate` has what these need beside the package: transformers and torchao.
"""

from mlx_coverage.generation.export import Export, ExportOptions, export_source, open_methods
from mlx_coverage.generation.program import Metadata, Program, Session
from mlx_coverage.generation.source import Source, open_source
from mlx_coverage.generation.text_generator import Request, Sampling, Stats, TextGenerator

__all__ = [
    "Export",
    "ExportOptions",
    "Metadata",
    "Program",
    "Request",
    "Sampling",
    "Session",
    "Source",
    "Stats",
    "TextGenerator",
    "export_source",
    "open_methods",
    "open_source",
]
