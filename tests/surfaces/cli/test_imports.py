"""Start-up is a feature: what the commands people call all day import, and what they don't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BOUND_S = 30
WORKFLOW = ROOT / "workflows" / "multi-server-deploy.yaml"
RUN = """\
import sys
from sane.surfaces.cli.main import main
sys.argv = ["sane", *sys.argv[1:]]
try:
    main()
except SystemExit as done:
    print("status", done.code)
print(*{name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
"""
OURS = {"sane", "click", "jmespath"}
# what asyncssh brings along; a name with an underscore in front is a part of one of these
SSH = {"asyncssh", "cryptography", "typing_extensions", "ruamel"}


def packages(*words: str) -> tuple[str, set[str]]:
    """Return the status that a call of sane for a program ends with, and the packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words, "--output", "json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=BOUND_S,
        check=False,
    )
    status, imported = done.stdout.splitlines()[-2:]
    return status, {name for name in imported.split() if not name.startswith("_")}


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    path = tmp_path / "hosts.yaml"
    path.write_text("hosts: {web1: {address: 127.0.0.1, port: 1}}\n")
    return str(path)


def test_a_program_gets_its_answers_without_a_library_for_drawing(hosts: str) -> None:
    status, imported = packages("deploy", str(WORKFLOW), "-i", hosts, "--version", "1")
    assert (status, imported - SSH) == ("status 3", OURS)
    status, imported = packages("deployment", "status", "multi-server-deploy")
    assert (status, imported) == ("status 3", OURS)
    status, imported = packages("deployment", "list")
    assert (status, imported) == ("status 0", OURS)
    status, imported = packages("run", "-i", hosts, "all", "true")
    assert (status, imported - SSH) == ("status 4", OURS)
    status, imported = packages("plan", str(WORKFLOW), "-i", hosts, "--version", "1")
    assert (status, imported - SSH) == ("status 0", OURS)
