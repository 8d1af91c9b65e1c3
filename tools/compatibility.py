"""Run the examples and a shard of conformance on each supported torch: `make compatibility`.

Each release gets an environment of its own under build/compatibility, with the newest mlx of the
supported range. The table in README.md is written where every release was run.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from venv import EnvBuilder
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "compatibility"
TORCH = ("2.13.0", "2.14.1", "2.15.0")
EXAMPLES = "tests/e2e/test_models.py"
CONFORMANCE = "tests/op_conformance/test_lowered.py"
SHARD = 8
BEGIN, END = "<!-- compatibility:begin -->\n", "<!-- compatibility:end -->\n"
VERSIONS = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
PACKAGES = ("torch", "executorch", "mlx")


def main() -> int:
    """Run the releases and print the table; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", action="append", metavar="VERSION", help="only this release")
    parser.add_argument("--workers", default="2", help="of pytest")
    options = parser.parse_args()
    releases = options.torch or list(TORCH)
    rows, failed = [], False
    for release in releases:
        python = make_environment(release)
        passed, broken = run_tests(python, release, options.workers)
        found = output(python, "-c", VERSIONS, *PACKAGES).split()
        rows.append(f"| {' | '.join(found)} | {passed} | {broken} |\n")
        failed |= bool(broken) or not passed
        print(rows[-1], end="", flush=True)
    if releases == list(TORCH):
        write_table("".join(rows))
    return int(failed)


def make_environment(release: str) -> Path:
    """The Python of an environment with this torch, the package and its test tools."""
    folder = FOLDER / f"torch-{release}"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        EnvBuilder(with_pip=True, clear=True).create(folder)
        target = f"{ROOT}[test]"
        command = [python, "-m", "pip", "install", "-q", "-e", target, f"torch=={release}"]
        subprocess.run(command, check=True)
        (folder / ".installed").touch()
    return python


def run_tests(python: Path, release: str, workers: str) -> tuple[int, int]:
    """How many tests passed, and how many did not."""
    collected = output(python, "-m", "pytest", "-q", "--collect-only", CONFORMANCE)
    names = [line for line in collected.splitlines() if "::" in line]
    if not names:
        raise SystemExit(f"compatibility: no test was collected with torch {release}:\n{collected}")
    chosen, results = FOLDER / f"{release}.txt", FOLDER / f"{release}.xml"
    chosen.write_text("\n".join([EXAMPLES, *names[::SHARD]]), encoding="utf-8")
    command = [python, "-m", "pytest", "-q", "-n", workers, f"--junitxml={results}", f"@{chosen}"]
    subprocess.run(command, cwd=ROOT, check=False)
    (suite,) = ElementTree.parse(results).getroot().iter("testsuite")
    count = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    broken = count["failures"] + count["errors"]
    return count["tests"] - broken - count["skipped"], broken


def output(python: Path, *arguments: str) -> str:
    """What the command writes to stdout."""
    command = [python, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout or done.stderr


def write_table(rows: str) -> None:
    """Put the rows between the marks in README.md."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    head = "| torch | executorch | mlx | passed | failed |\n|---|---|---|---|---|\n"
    readme.write_text(f"{before}{BEGIN}{head}{rows}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
