"""Values of options, read in one way from the command line and from pyproject.toml."""

import argparse
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from mlx_coverage.analyze.difference import GATES
from mlx_coverage.report.formats import OUTPUT_FORMATS, RENDERERS

_FORMS = "path.py, path.py::name, package.module:name, a saved .pt2, or zoo:NAME"


def suggest(wrong: str, names: Iterable[str]) -> str:
    """`; did you mean --json?`, or an empty text."""
    close = get_close_matches(wrong, names, n=1)
    return f"; did you mean {close[0]}?" if wrong and close else ""


def refuse_names(args: argparse.Namespace) -> str | None:
    """What is wrong with the models and files of a command, before anything is imported for them.

    Names that only an import can tell are left to the command.
    """
    models = getattr(args, "model", None) or []
    files = (".py", ".pt2", *getattr(args, "accepted", ()))
    refusals = (_refuse_model(m, files) for m in ([models] if isinstance(models, str) else models))
    refusal = next(filter(None, refusals), None)
    if refusal is not None:
        return refusal
    program = getattr(args, "program", None)
    if program is not None and getattr(args, "profile", False) and not program.endswith(".pte"):
        return _refuse_model(program, files)
    if program is not None and not Path(program).is_file():
        hint = _suggest_file(program)
        return f"{program}: there is no such file{hint}; accepted: an ExecuTorch program (.pte)"
    return None


def _refuse_model(model: str, files: tuple[str, ...]) -> str | None:
    path = model.partition("::")[0]
    if path.endswith(files):
        if not Path(path).is_file():
            return f"{path}: there is no such file{_suggest_file(path)}; accepted: {_FORMS}"
    elif not path.startswith("zoo:") and ":" not in path:
        return f"{model!r} names no model{_suggest_file(path)}; accepted: {_FORMS}"
    return None


def _suggest_file(path: str) -> str:
    folder = Path(path).parent
    known = [str(folder / p.name) for p in folder.iterdir()] if folder.is_dir() else []
    return suggest(str(Path(path)), (name for name in known if Path(name).is_file()))


def percentage(text: str) -> float:
    """`95`, `95.5` or `95%`."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; accepted: 0 to 100")
    return value


def output_format(text: str) -> str:
    """A format for stdout."""
    if text not in OUTPUT_FORMATS:
        accepted = ", ".join(OUTPUT_FORMATS)
        raise argparse.ArgumentTypeError(f"{text!r} is no format; accepted: {accepted}")
    return text


def report(text: str) -> tuple[str, str]:
    """`FORMAT:PATH`."""
    form, _, path = text.partition(":")
    if form not in RENDERERS or not path:
        accepted = ", ".join(RENDERERS)
        raise argparse.ArgumentTypeError(
            f"{text!r} is no report; accepted: FORMAT:PATH with a format of {accepted}"
        )
    return form, path


def gates(text: str) -> list[str]:
    """Names separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in GATES:
            raise argparse.ArgumentTypeError(
                f"{name!r} is no gate; accepted: {', '.join(GATES)}, separated by commas"
            )
    return names
