"""What is left out on request is in no output."""

from dataclasses import replace

import pytest

from mlx_coverage.analyze.model import Source, Stage, Suppression, to_json
from mlx_coverage.report import RENDERERS
from mlx_coverage.report.redaction import hide_folders, hide_source
from tests.report.samples import make_report


def make_private():
    """A report with a secret in its source, and another in its paths."""
    report = make_report("/home/ada/secret-project/model")
    (method,) = report.methods
    secret = Source("/home/ada/secret-project/model.py", 3, "x = 'topsecret'", "exact")
    finding = replace(method.findings[0], source=secret, allowed="topsecret comment")
    excerpt = replace(report.files[0].excerpts[0], lines=("topsecret = 1",))
    return replace(
        report,
        methods=(replace(method, findings=(finding,), sources=(Source(), secret)),),
        files=(replace(report.files[0], excerpts=(excerpt,)),),
        suppressions=(Suppression(secret.file, 3, ("op/dtype",), "topsecret", ""),),
        stages=(Stage("import", "failed", "/opt/ada/other/x.py is damaged", secret, "a/b"),),
    )


@pytest.mark.parametrize("form", sorted(RENDERERS))
def test_no_format_shows_hidden_source(form: str) -> None:
    assert "topsecret" not in RENDERERS[form](hide_source(make_private()))


def test_hidden_source_is_said_to_be_missing_and_places_stay() -> None:
    hidden = hide_source(make_private())
    assert "source lines: left out on request" in hidden.missing
    (finding,) = hidden.methods[0].findings
    assert finding.source.line == 3
    # That a comment accepts it is no secret; what the comment says is.
    assert finding.allowed == ""
    assert hidden.methods[0].graph == make_report().methods[0].graph


def test_folders_are_gone_and_files_stay_apart() -> None:
    report = make_report()
    (method,) = report.methods
    sources = (Source("/home/ada/a/net.py", 1), Source("/home/ada/b/net.py", 1), Source())
    (finding, *others) = method.findings
    text = replace(finding.reason, sentence="see /home/ada/b/net.py:1 and /srv/ada/data.bin")
    finding = replace(finding, source=sources[0], reason=text)
    method = replace(method, sources=sources, findings=(finding, *others))
    hidden = hide_folders(replace(report, model="/home/ada/a/net.py::make", methods=(method,)))
    assert "ada" not in to_json(hidden)
    assert hidden.model == "net.py::make"
    assert [s.file for s in hidden.methods[0].sources] == ["net.py", "net.py (2)", None]
    assert hidden.methods[0].findings[0].reason.sentence == "see net.py (2):1 and data.bin"
    # Names with slashes that are no paths are as they were.
    assert hidden.methods[0].findings[0].reason.slug == "op/dtype"
    assert hidden.missing == report.missing
    assert hidden.methods[0].findings[1] == others[0]
    assert hide_folders(hidden) == hidden


def test_paths_within_packages_stay() -> None:
    report = make_report()
    package = replace(report.files[0], file="plain/lib.py", own=False)
    hidden = hide_folders(replace(report, files=(*report.files, package)))
    assert hidden.files[1].file == "plain/lib.py"
    assert hidden.methods[0].findings[0].source.via == "plain/lib.py:3"
