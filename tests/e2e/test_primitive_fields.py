"""The names of the fields of every pane primitive's answer, on each kind of pane: scripts depend on them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pane_fixtures import Tmux, tmux
from tests.transports.sshd import Sshd

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e
BIN = Path(__file__).parents[2] / "bin"

# command and arguments behind TARGET -> fields that are always there; others may be added freely
FIELDS: dict[tuple[str, ...], str] = {
    ("sane-run-command", "echo hi"): "output exit_code duration_ms attempts retried timed_out",
    ("sane-send-keys", "true", "Enter"): "status output duration_ms timestamp",
    ("sane-create-file", "FILE", "x"): "status path checksum sha256 size_bytes",
    ("sane-read-file", "FILE"): "content checksum size_bytes modified_time truncated",
    ("sane-edit-file", "FILE", "append", "y"): "status backup_path diff",
    ("sane-checksum-file", "FILE"): "md5 sha256 size_bytes",
    ("sane-detect-platform",): "os arch hostname user shell distro",
    ("sane-detect-mode",): "mode shell capabilities supports_structured_prompt",
    ("sane-detect-ssh",): "pane ssh_detected timestamp duration_ms context_updated",
    (
        "sane-detect-ssh",
        "--update-context",
        "--label",
        "web",
    ): "pane ssh_detected label timestamp duration_ms context_updated",
    (
        "sane-check-pane-health",
    ): "pane health_status responsive frozen details timestamp duration_ms prompt_age_seconds",
    ("sane-wait-ready", "10"): "ready pane duration_ms timestamp",
    ("sane-label-pane", "build"): "status pane label",
    ("sane-get-label",): "status pane label",
    ("sane-setup-prompt",): "status pane shell ps1_set message",
    ("sane-split-pane", "vertical"): "pane",
    ("sane-list-panes",): "session panes",
    ("sane-list-windows",): "session windows",
}


@pytest.fixture(scope="module")
def sshd(tmux: Tmux) -> Iterator[Sshd]:
    """Yield a host `web` whose tmux is this module's."""
    server = Sshd(options={"SetEnv": f"TMUX_TMPDIR={tmux.folder}"})
    server.start()
    folder = tmux.folder / "home" / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "config").write_text(
        f"Host web\n HostName 127.0.0.1\n Port {server.port}\n User {server.user}\n IdentityFile {server.user_key}\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {server.known_hosts}\n"
    )
    yield server
    server.stop()


@pytest.fixture(params=["a local pane", "a pane in ssh", "a pane of a remote tmux"])
def target(request: pytest.FixtureRequest, tmux: Tmux, sshd: Sshd) -> str:
    if request.param != "a pane in ssh":
        name = tmux.new()
        return name if request.param == "a local pane" else f"ssh:web/{name}"
    options = f"-F none -o UserKnownHostsFile={sshd.known_hosts} -o IdentitiesOnly=yes -i {sshd.user_key}"
    return tmux.new(f"ssh {options} -p {sshd.port} {sshd.user}@127.0.0.1 -t bash --norc")


def test_fields(tmux: Tmux, target: str, short_dir: Path) -> None:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for (name, *words), always in FIELDS.items():
        argv = [str(short_dir / "t-fields") if word == "FILE" else word for word in words]
        done = subprocess.run([BIN / name, target, *argv], env=tmux.environ, capture_output=True, text=True, timeout=40)
        assert done.returncode == 0, (name, done.stderr, done.stdout)
        answer = found[name, *words] = json.loads(done.stdout)
        assert set(always.split()) <= set(answer), (name, answer)
    Path(found["sane-edit-file", "FILE", "append", "y"]["backup_path"]).unlink(missing_ok=True)
    behind = target.startswith("ssh:") or found["sane-detect-ssh",]["ssh_detected"]
    assert found["sane-run-command", "echo hi"]["output"] == "hi\n"
    assert found["sane-check-pane-health",]["health_status"] == "healthy"
    assert found["sane-wait-ready", "10"]["ready"] is True
    assert found["sane-detect-ssh", "--update-context", "--label", "web"]["context_updated"] is True
    assert found["sane-get-label",]["label"] == "build"
    setup = found["sane-setup-prompt",]
    assert (setup["status"], setup["shell"], setup["ps1_set"]) == ("success", "bash", True)
    panes = found["sane-list-panes",]["panes"]
    assert {"id", "window", "index", "command", "path", "label"} <= set(panes[0]) | {"label"}
    assert panes[1]["id"] == found["sane-split-pane", "vertical"]["pane"]
    assert {"id", "index", "name", "pane_count"} <= set(found["sane-list-windows",]["windows"][0])
    argv = [BIN / "sane-context-database", "read", target]
    read = json.loads(subprocess.run(argv, env=tmux.environ, capture_output=True, check=True).stdout)
    assert read["context"]["label"] == "build"
    if behind and not target.startswith("ssh:"):
        ssh = found["sane-detect-ssh",]
        assert (ssh["hostname"], ssh["os"], ssh["port"] > 0) == ("127.0.0.1", "Linux", True)


USAGE = {
    "sane-run-command": "TARGET COMMAND",
    "sane-send-keys": "TARGET KEY",
    "sane-create-file": "TARGET PATH CONTENT",
    "sane-split-pane": "TARGET",
    "sane-label-pane": "TARGET LABEL",
    "sane-list-panes": "SESSION",
}


def test_sentences_that_scripts_match(tmux: Tmux) -> None:
    name = tmux.new()

    def call(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [BIN / words[0], *words[1:]], env=tmux.environ, capture_output=True, text=True, timeout=20
        )
        return done.returncode, done.stdout, done.stderr.split("\n")[0]

    for command, arguments in USAGE.items():
        code, out, err = call(command)
        assert (code, out) == (1, "")
        assert err.startswith(f"Usage: {command} {arguments}")
    for command in ("sane-check-pane-health", "sane-wait-ready"):
        code, out, err = call(command)
        assert (code, out.startswith(f"Usage: {command}"), err) == (0, True, "")
    assert call("sane-run-command", name, "true", "-5")[0] == 1
    assert "-5" in call("sane-run-command", name, "true", "-5")[2]
    assert (
        call("sane-create-file", name, "/tmp/t-x", "x", "maybe")[2]
        == "Error: backup must be 'true' or 'false', got 'maybe'"
    )
    missing = "Session 'nope' does not exist"
    for command in ("sane-run-command", "sane-create-file", "sane-read-file"):
        words = {"sane-run-command": ["true"], "sane-create-file": ["/tmp/t-x", "x"], "sane-read-file": ["/x"]}[command]
        assert call(command, "nope", *words)[::2] == (1, f"Error: {missing}")
    for command in ("sane-list-panes", "sane-list-windows", "sane-wait-ready", "sane-setup-prompt", "sane-split-pane"):
        assert call(command, "nope")[::2] == (1, f"Error: {missing}")
    said = {
        "sane-send-keys": {"status": "error", "error": missing},
        "sane-get-label": {"status": "error", "message": missing},
    }
    said["sane-label-pane"], said["sane-detect-ssh"] = said["sane-get-label"], {"error": missing}
    for command, answer in said.items():
        words = ["x"] if command in ("sane-send-keys", "sane-label-pane") else []
        code, out, _ = call(command, "nope", *words)
        told = json.loads(out)
        assert told.pop("hint").startswith("Sessions: ")
        assert (code, told) == (1, answer)
