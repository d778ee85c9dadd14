"""The primitives on panes, called as a shell calls them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from sane.primitives.run_command import FIRST_BACKOFF_S
from tests.e2e.pane_fixtures import SHELLS, Tmux, make_server, tmux
from tests.primitives.pane_calls import call, wait_for_format, wait_for_program
from tests.transports.sshd import Sshd

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


def test_run_command_answers(tmux: Tmux) -> None:
    name = tmux.new()
    answer = call(tmux, "sane-run-command", name, "printf 'a\\n'; (exit 3)")
    assert (answer["output"], answer["exit_code"], answer["attempts"], answer["retried"]) == ("a\n", 3, 1, False)
    assert "total_duration_ms" not in answer
    call(tmux, "sane-run-command", "--exit-status", name, "(exit 3)", code=3)
    answer = call(tmux, "sane-run-command", name, "printf '\\377\\n'")
    assert (answer["output"], answer["output_base64"]) == ("\ufffd\n", "/wo=")


def test_run_command_retries_only_what_is_transient(tmux: Tmux) -> None:
    name = tmux.new()
    answer = call(tmux, "sane-run-command", name, "echo Connection refused; (exit 1)", "5", "1")
    assert (answer["attempts"], answer["retried"], answer["exit_code"]) == (2, True, 1)
    assert answer["total_duration_ms"] > answer["duration_ms"] + 1000 * FIRST_BACKOFF_S
    answer = call(tmux, "sane-run-command", name, "(exit 1)", "5", "3")
    assert (answer["attempts"], answer["retried"]) == (1, False)


@pytest.mark.parametrize("target", ["pane", "local:"])
@pytest.mark.parametrize("timeout", ["0", "0.0", "-0"])
def test_run_command_refuses_a_timeout_of_0(tmux: Tmux, target: str, timeout: str) -> None:
    touched = tmux.folder / "touched"
    target = tmux.new() if target == "pane" else target
    answer = call(tmux, "sane-run-command", target, f"touch {touched}", timeout, code=1)
    assert answer["stderr"].startswith("Error: timeout must be more than 0, got '")
    assert not touched.exists()


@pytest.mark.parametrize("command", ["echo 'x", "cat <<END\nx", "if true", "echo $(", "echo )"])
def test_a_syntax_error_is_told_and_nothing_sent(tmux: Tmux, command: str) -> None:
    name = tmux.new()
    tmux.wait_for(name, "#")
    before = tmux.screen(name)
    answer = call(tmux, "sane-run-command", name, command)
    assert "nothing was sent" in answer["error"]
    assert "exit_code" not in answer
    assert tmux.screen(name) == before


def test_errors_read_as_scripts_match_them(tmux: Tmux) -> None:
    name = tmux.new()
    for words, sentence in {
        ("nope", "true"): "Error: Session 'nope' does not exist",
        (f"{name}:a.b.c", "true"): "Error: Invalid pane specification 'a.b.c'. Use format WINDOW or WINDOW.PANE",
        (f"{name}:0.7", "true"): f"Error: Pane '{name}:0.7' does not exist",
        ("%99", "true"): "Error: Pane '%99' does not exist",
        (name, "true", "x"): "Error: timeout must be a number, got 'x'",
        (name, "true", "1", "y"): "Error: max_retries must be a number, got 'y'",
    }.items():
        answer = call(tmux, "sane-run-command", *words, code=1)
        assert answer["stderr"].split("\n")[0] == sentence


def test_lists(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("rename-window", "-t", name, "first")
    tmux.call("new-window", "-d", "-t", name, "-n", "a: b.c", "dash")
    new = call(tmux, "sane-split-pane", f"{name}:0.0", "horizontal")["pane"]
    for place, program in (("0.0", "bash"), ("0.1", "bash"), ("1.0", "dash")):
        wait_for_program(tmux, f"{name}:{place}", program)
    panes = call(tmux, "sane-list-panes", name)
    assert panes["session"] == name
    assert [(p["window"], p["index"], p["command"]) for p in panes["panes"]] == [
        (0, 0, "bash"),
        (0, 1, "bash"),
        (1, 0, "dash"),
    ]
    assert panes["panes"][1]["id"] == new
    for place in ("a: b.c", "a: b.c.0"):
        assert call(tmux, "sane-detect-mode", f"{name}:{place}")["shell"] == "dash"
    wrong = call(tmux, "sane-detect-mode", f"{name}:a: b.c.7", code=1)["stderr"]
    assert wrong.startswith(f"Error: Pane '{name}:a: b.c.7' does not exist")
    windows = call(tmux, "sane-list-windows", name)["windows"]
    assert [(w["index"], w["name"], w["pane_count"]) for w in windows] == [(0, "first", 2), (1, "a: b.c", 1)]


def test_labels(tmux: Tmux) -> None:
    name = tmux.new()
    assert call(tmux, "sane-get-label", name) == {"status": "no_label", "pane": name}
    assert call(tmux, "sane-label-pane", name, "build it")["status"] == "created_with_label"
    assert call(tmux, "sane-label-pane", name, "build")["status"] == "labeled"
    assert call(tmux, "sane-get-label", name) == {"status": "found", "pane": name, "label": "build"}
    assert call(tmux, "sane-list-panes", name)["panes"][0]["label"] == "build"
    answer = call(tmux, "sane-label-pane", "nope", "x", code=1)
    assert answer.pop("hint").startswith("Sessions: ")
    assert answer == {"status": "error", "message": "Session 'nope' does not exist"}


MODES = {
    "bash": ("bash --norc", "bash", "bash"),
    "zsh": ("zsh -f", "bash", "zsh"),
    "fish": ("fish --no-config", "bash", "fish"),
    "python": ("python3 -q", "raw", "python"),
    "cat": ("cat", "raw", "cat"),
}


@pytest.mark.parametrize("program", MODES)
def test_modes(tmux: Tmux, program: str) -> None:
    command, mode, shell = MODES[program]
    name = tmux.new(command)
    until = time.monotonic() + 5
    while True:
        answer = call(tmux, "sane-detect-mode", name)
        if (answer["mode"], answer["shell"], answer["supports_structured_prompt"]) == (mode, shell, mode == "bash"):
            return
        assert time.monotonic() < until, answer


@pytest.mark.parametrize("where", ["here", "behind ssh"])
def test_mode_of_a_tmux_in_the_pane(tmux: Tmux, where: str) -> None:
    inner = f"env -u TMUX TMUX_TMPDIR={tmux.folder} TERM=screen tmux -L mode{len(where)} -f /dev/null"
    shell = f"{inner} new-session 'bash --norc'"
    server = Sshd().start() if where == "behind ssh" else None
    try:
        options = (
            f"-F none -o UserKnownHostsFile={server.known_hosts} -o IdentitiesOnly=yes -i {server.user_key}"
            f" -p {server.port} {server.user}@127.0.0.1"
            if server
            else ""
        )
        name = tmux.new(f'ssh {options} -t "{shell}"' if server else shell, width=100)
        assert call(tmux, "sane-run-command", name, "echo there")["output"] == "there\n"
        answer = call(tmux, "sane-detect-mode", name)
        assert (answer["mode"], answer["shell"], answer["busy"]) == ("bash", "bash", False)
        assert "run_command" in answer["capabilities"]
    finally:
        subprocess.run(f"{inner} kill-server", shell=True, env=tmux.environ, check=False, capture_output=True)
        if server:
            server.stop()


def test_mode_of_a_dead_pane(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("set-option", "-p", "-t", name, "remain-on-exit", "on")
    tmux.call("send-keys", "-t", name, "exit", "Enter")
    wait_for_format(tmux, name, "#{pane_dead}", "1")
    assert call(tmux, "sane-detect-mode", name) == {
        "mode": "raw",
        "shell": "",
        "capabilities": [],
        "supports_structured_prompt": False,
        "pane": name,
        "busy": False,
        "dead": True,
    }


@pytest.mark.parametrize("timeout", ["0", "0.001", "0.1"])
def test_health_is_not_told_from_a_moment(tmux: Tmux, timeout: str) -> None:
    name = tmux.new()
    tmux.wait_for(name, "#")
    before = tmux.screen(name)
    answer = call(tmux, "sane-check-pane-health", name, "--timeout", timeout, code=1)
    assert (answer["health_status"], answer["responsive"], answer["frozen"]) == ("unknown", False, False)
    assert f"{timeout} s are too short" in answer["details"]
    call(tmux, "sane-check-pane-health", name, "--all", "--timeout", timeout, code=1)
    assert call(tmux, "sane-check-pane-health", name)["health_status"] == "healthy"
    assert tmux.screen(name) == before


def test_health(tmux: Tmux) -> None:
    name = tmux.new()
    answer = call(tmux, "sane-check-pane-health", name)
    assert (answer["health_status"], answer["responsive"], answer["frozen"]) == ("healthy", True, False)
    assert tmux.screen(name) == "bash-5.2#"
    tmux.type(name, "sleep 30\n")
    wait_for_program(tmux, name, "sleep")
    answer = call(tmux, "sane-check-pane-health", name, code=1)
    assert (answer["health_status"], answer["details"][:5]) == ("unknown", "sleep")
    tmux.call("send-keys", "-t", name, "C-c")
    tmux.wait_for(name, "^C")
    tmux.call("send-keys", "-t", name, "C-s")
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    answer = call(tmux, "sane-check-pane-health", name, "--all", "--timeout", "0.5", code=1)
    assert [pane["health_status"] for pane in answer["panes"]] == ["frozen", "healthy"]
    assert (answer["health_status"], answer["frozen"]) == ("frozen", True)
    assert "panes" in answer
    assert not any("panes" in pane for pane in answer["panes"])


def test_health_of_a_stopped_shell_and_of_a_dead_pane(tmux: Tmux) -> None:
    # Not the pane's own process: tmux itself wakes that one up.
    name = tmux.new("sh -c 'bash --norc; true'")
    tmux.wait_for(name, "#")
    parent = tmux.call("display", "-p", "-t", name, "#{pane_pid}").strip()
    pid = int(subprocess.run(["pgrep", "-P", parent], capture_output=True, text=True, check=True).stdout)
    os.kill(pid, signal.SIGSTOP)
    answer = call(tmux, "sane-check-pane-health", name, "--timeout", "0.5", code=1)
    assert (answer["health_status"], answer["responsive"], answer["frozen"]) == ("frozen", False, True)
    os.kill(pid, signal.SIGCONT)
    assert call(tmux, "sane-run-command", name, "echo thawed")["output"] == "thawed\n"
    assert call(tmux, "sane-check-pane-health", name)["health_status"] == "healthy"
    tmux.call("set-option", "-p", "-t", name, "remain-on-exit", "on")
    tmux.call("send-keys", "-t", name, "exit", "Enter")
    until = time.monotonic() + 10
    while tmux.call("display", "-p", "-t", name, "#{pane_dead}").strip() != "1":
        assert time.monotonic() < until
        time.sleep(0.01)
    answer = call(tmux, "sane-check-pane-health", name, code=1)
    assert (answer["health_status"], answer["frozen"]) == ("dead", False)
    assert call(tmux, "sane-wait-ready", name, "5", code=1)["reason"].startswith(f"pane {name} is dead")


CONFIGS = {
    "counted from 1, zsh": ("set -g base-index 1\nset -g pane-base-index 1\nset -g default-shell /usr/bin/zsh", "1.1"),
    "fish, two status lines": (
        "set -g default-shell /usr/bin/fish\nset -g status 2\nset -g status-position top",
        "0.0",
    ),
    "dash, no status": ("set -g default-command dash\nset -g status off\nset -g default-terminal dumb", "0.0"),
}


@pytest.mark.parametrize("config", CONFIGS)
def test_tmux_set_up_by_its_person(config: str) -> None:
    text, place = CONFIGS[config]
    for server in make_server():
        (server.folder / "home" / ".tmux.conf").write_text(text + "\n")
        server.new_plain("mine", 40, 8)
        answer = call(server, "sane-run-command", f"mine:{place}", "echo hi; sh -c 'exit 3'")
        assert (answer["output"], answer["exit_code"]) == ("hi\n", 3)
        assert call(server, "sane-list-panes", "mine")["panes"][0]["window"] == int(place[0])
        new = call(server, "sane-split-pane", f"mine:{place}", "horizontal")["pane"]
        assert call(server, "sane-run-command", new, "seq 1 100")["output"].split() == [str(n) for n in range(1, 101)]
        assert call(server, "sane-setup-prompt", f"mine:{place}")["status"] == "success"
        assert call(server, "sane-run-command", "mine:9", "true", code=1)["stderr"].startswith(
            "Error: Pane 'mine:9' does"
        )


def test_wait_ready(tmux: Tmux) -> None:
    name = tmux.new("sh -c 'sleep 2; exec bash --norc'")
    answer = call(tmux, "sane-wait-ready", name, "20")
    assert answer["ready"] is True
    assert answer["duration_ms"] > 100
    tmux.type(name, "sleep 30\n")
    wait_for_program(tmux, name, "sleep")
    answer = call(tmux, "sane-wait-ready", name, "0.3", code=1)
    assert (answer["ready"], "sleep is running" in answer["reason"]) == (False, True)


@pytest.mark.parametrize("shell", list(SHELLS))
def test_setup_prompt(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell], width=120)
    answer = call(tmux, "sane-setup-prompt", name)
    assert (answer["status"], answer["shell"], answer["ps1_set"]) == ("success", shell, True)
    assert call(tmux, "sane-run-command", name, "sh -c 'exit 7'")["exit_code"] == 7
    pattern = rf"\w+@\S+ - [a-z]{{3}}\d{{6}}:\d{{6}}[ap]m seq:\d+ rslt:7 {shell} \$"
    until = time.monotonic() + 3
    while not re.search(pattern, tmux.screen(name)):
        assert time.monotonic() < until, tmux.screen(name)
        time.sleep(0.02)
    assert call(tmux, "sane-run-command", name, "echo still")["output"] == "still\n"
