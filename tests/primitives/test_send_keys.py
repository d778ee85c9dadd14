"""sane-send-keys, on a tmux server of the test's own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.pane_fixtures import Tmux, tmux
from tests.primitives.pane_calls import call, wait_for_format

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


def test_presses_keys_and_answers_the_screen(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.wait_for(name, "#")
    answer = call(tmux, "sane-send-keys", name, "echo $((6*7))", "Enter")
    assert answer["status"] == "sent"
    assert "\n42\n" in answer["output"]
    answer = call(tmux, "sane-send-keys", "nope", "x", code=1)
    assert answer.pop("hint").startswith("Sessions: ")
    assert answer == {"status": "error", "error": "Session 'nope' does not exist"}


@pytest.mark.parametrize("text", ["select 1;", "x\\;", ";", "\\;"])
def test_text_that_ends_in_a_semicolon_is_typed(tmux: Tmux, text: str) -> None:
    name = tmux.new("cat")
    call(tmux, "sane-send-keys", name, text, "Enter")
    assert tmux.wait_for(name, f"{text}\n{text}") == f"{text}\n{text}"  # the terminal's echo, and cat's


def test_a_key_that_ends_in_a_semicolon_begins_no_command_of_tmux(tmux: Tmux) -> None:
    name, victim = tmux.new("cat"), tmux.new("cat")
    touched = tmux.folder / "touched"
    for words in (("x;", "kill-session", "-t", victim), ("x;", "run-shell", f"touch {touched}")):
        call(tmux, "sane-send-keys", name, *words)
    assert victim in tmux.call("list-sessions", "-F", "#{session_name}").split()
    assert not touched.exists()


@pytest.mark.parametrize("mode", ["copy-mode", "clock-mode", "choose-tree"])
def test_keys_reach_the_program_of_a_pane_in_a_mode_of_tmux(tmux: Tmux, mode: str) -> None:
    name = tmux.new("cat")
    assert "left_mode" not in call(tmux, "sane-send-keys", name, "one", "Enter")
    tmux.wait_for(name, "one\none")
    tmux.call(mode, "-t", name)
    wait_for_format(tmux, name, "#{pane_in_mode}", "1")
    shown = tmux.call("display", "-p", "-t", name, "#{pane_mode}").strip()
    answer = call(tmux, "sane-send-keys", name, "q", "Enter")
    assert (answer["status"], answer["left_mode"]) == ("sent", shown)
    wait_for_format(tmux, name, "#{pane_in_mode}", "0")
    tmux.wait_for(name, "one\none\nq\nq")


@pytest.mark.parametrize(
    "keys", [["x" * 40_000], ["é" * 12_000, "y;" * 14_000], ["x"] * 20_000, ["x" * 3000 + "Enter"]]
)
def test_more_keys_than_tmux_takes_at_once(tmux: Tmux, tmp_path: Path, keys: list[str]) -> None:
    typed = tmp_path / "typed"
    name = tmux.new(f"sh -c 'stty raw -echo; echo ready; exec cat >{typed}'")
    tmux.wait_for(name, "ready")
    assert call(tmux, "sane-send-keys", name, *keys, "Enter")["status"] == "sent"
    wanted = "".join(keys).encode() + b"\r"
    until = time.monotonic() + 10
    while typed.stat().st_size < len(wanted):
        assert time.monotonic() < until, typed.stat().st_size
        time.sleep(0.01)
    assert typed.read_bytes() == wanted


def test_a_dead_pane_takes_no_keys_and_says_so(tmux: Tmux) -> None:
    name = tmux.new("cat")
    tmux.call("set-option", "-p", "-t", name, "remain-on-exit", "on")
    tmux.call("send-keys", "-t", name, "C-d")
    wait_for_format(tmux, name, "#{pane_dead}", "1")
    answer = call(tmux, "sane-send-keys", name, "x", code=1)
    assert answer["error"] == f"pane {name} is dead: its program has ended"
