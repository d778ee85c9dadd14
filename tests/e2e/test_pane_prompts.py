"""Prompts of all kinds: each is known for what it is at once, and a line that is begun behind it too."""

from __future__ import annotations

import time

import pytest

from sane.errors import PaneError
from sane.transports.blocking import run_blocking
from tests.e2e.pane_fixtures import SHELLS, Tmux, tmux
from tests.primitives.pane_calls import call

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e

ROBBYRUSSELL = (
    "autoload -U colors; colors; setopt prompt_subst\n"
    "PROMPT='%(?:%{$fg_bold[green]%}➜ :%{$fg_bold[red]%}➜ ) %{$fg[cyan]%}%c%{$reset_color%} '\n"
)
# name -> (the program, its start file, what the last line of the screen ends with once the prompt is there)
THEMES = {
    "robbyrussell": ("zsh", ROBBYRUSSELL, "➜  ~"),
    "robbyrussell in vi mode": ("zsh", ROBBYRUSSELL + "bindkey -v\n", "➜  ~"),
    "a right prompt": ("zsh", ROBBYRUSSELL + "RPROMPT='%*'\n", ":"),
    "text behind the cursor": (
        "zsh",
        ROBBYRUSSELL + "zle-line-init() { POSTDISPLAY='type a command'; }; zle -N zle-line-init\n",
        "type a command",
    ),
    "two lines": ("zsh", "PROMPT=$'%F{blue}%~%f on main\\n%F{green}at %T%f '\n", ":"),
    "a powerline": ("zsh", "PROMPT=$'%K{blue} %n %k%F{blue}\\ue0b0%f '\n", "\ue0b0"),
    "the folder alone": ("zsh", "PROMPT='%~ '\n", "~"),
    "a clock in bash": ("bash", "PS1='[\\t] foo: '\n", "foo:"),
    "the folder alone in bash": ("bash", "PS1='\\w: '\n", ":"),
    "vi mode in bash": ("bash", "PS1='[\\t] foo: '; set -o vi\n", "foo:"),
    "fish": ("fish", "function fish_prompt; echo -n (prompt_pwd)' in fish: '; end; set fish_greeting\n", "fish:"),
}


def start(server: Tmux, theme: str) -> str:
    program, text, shown = THEMES[theme]
    name = server.new(shell_with(server, program, text))
    server.wait_for(name, shown)
    return name


def shell_with(server: Tmux, program: str, text: str) -> str:
    """Return the command that starts a shell with a start file of its own."""
    folder = server.folder / f"rc{time.monotonic_ns()}"
    folder.mkdir()
    (folder / ".zshrc").write_text(text)
    home = server.folder / "home"
    return {
        "zsh": f"cd {home}; exec env ZDOTDIR={folder} zsh",
        "bash": f"cd {home}; exec bash --rcfile {folder}/.zshrc",
        "fish": f"cd {home}; exec fish --no-config -C 'source {folder}/.zshrc'",
    }[program]


@pytest.mark.parametrize("theme", THEMES)
def test_a_prompt_of_any_theme_is_known_at_first_use_and_in_another_folder(tmux: Tmux, theme: str) -> None:
    pane = tmux.open(start(tmux, theme))
    for script, output in {
        "echo hi": "hi\n",
        "cd /usr/share": "",
        "pwd": "/usr/share\n",
        "cd /": "",
        "echo x": "x\n",
    }.items():
        started = time.monotonic()
        assert pane.run(script).text == output
        assert time.monotonic() - started < 5  # a prompt that is not known is waited for, for 10 s
    pane.close()


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("theme", THEMES)
def test_a_line_that_is_begun_behind_any_prompt_stays_as_it_is(tmux: Tmux, theme: str, moved: bool) -> None:
    name = start(tmux, theme)
    pane = tmux.open(name)
    tmux.type(name, "nowhere --force")
    tmux.wait_for(name, "nowhere --force")
    if moved:
        keys = ["Home"] if "bash" in theme or theme == "fish" else ["Left"] * len("nowhere --force")
        column = int(tmux.call("display", "-p", "-t", name, "#{cursor_x}")) - len("nowhere --force")
        tmux.call("send-keys", "-t", name, *keys)
        wait_for_column(tmux, name, column)
    before, column = tmux.screen(name), int(tmux.call("display", "-p", "-t", name, "#{cursor_x}"))
    for _ in range(2):
        with pytest.raises(PaneError, match="typing there"):
            pane.run("echo mixed", timeout_s=0.3)
    wait_for_column(tmux, name, column)
    assert tmux.screen(name) == before
    tmux.call("send-keys", "-t", name, "C-c")
    assert pane.run("echo mine").output == b"mine\n"
    pane.close()


def wait_for_column(server: Tmux, name: str, column: int) -> None:
    until = time.monotonic() + 5
    while int(server.call("display", "-p", "-t", name, "#{cursor_x}")) != column:
        assert time.monotonic() < until
        time.sleep(0.01)


CONTINUATIONS = {
    "starship's": ("zsh", "PROMPT='%~ '; PROMPT2='∙ '\n", "∙"),
    "words": ("bash", "PS1='\\w: '; PS2='more please, '\n", "more please,"),
    "dots": ("bash", "PS1='[\\t] foo: '; PS2='... '\n", "..."),
}


@pytest.mark.parametrize("kind", CONTINUATIONS)
def test_an_unusual_prompt_for_the_rest_of_a_command_is_no_empty_line(tmux: Tmux, kind: str) -> None:
    program, text, shown = CONTINUATIONS[kind]
    name = tmux.new(shell_with(tmux, program, text))
    tmux.wait_for(name, ":" if program == "bash" else "~")
    pane = tmux.open(name)
    assert pane.run("true").exit_code == 0
    tmux.type(name, "echo 'abc\n")
    tmux.wait_for(name, shown)
    with pytest.raises(PaneError, match="nothing was typed"):
        pane.run("echo mixed", timeout_s=0.5)
    assert "mixed" not in tmux.screen(name)
    pane.close()


def test_what_asks_a_person_is_not_tried(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, "clear; read -e -p 'Delete all [y/N] '; echo \"<$REPLY>\"\n")
    tmux.wait_for(name, "[y/N]")
    with pytest.raises(PaneError, match="nothing was typed"):
        pane.run("echo mixed", timeout_s=0.3)
    tmux.type(name, "n\n")
    tmux.wait_for(name, "<n>")
    pane.close()


def test_a_search_of_the_history_is_left_alone(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("true")
    tmux.wait_for(name, "# true\nbash-5.2#")
    tmux.call("send-keys", "-t", name, "C-r")
    tmux.wait_for(name, "(reverse-i-search)")
    with pytest.raises(PaneError, match="nothing was typed"):
        pane.run("echo mixed", timeout_s=0.3)
    assert "(reverse-i-search)" in tmux.screen(name)
    pane.close()


def test_a_pane_with_an_unusual_prompt_is_ready_and_healthy_and_takes_another_prompt(tmux: Tmux) -> None:
    name = start(tmux, "a clock in bash")
    assert call(tmux, "sane-wait-ready", name, "5")["ready"] is True
    answer = call(tmux, "sane-check-pane-health", name)
    assert (answer["health_status"], answer["details"]) == ("healthy", "the shell answers")
    assert call(tmux, "sane-setup-prompt", name)["status"] == "success"
    tmux.type(name, "nowhere")
    tmux.wait_for(name, "nowhere")
    assert call(tmux, "sane-wait-ready", name, "0.4", code=1)["ready"] is False


def test_what_waits_in_raw_mode_is_named_for_what_it_is(tmux: Tmux) -> None:
    name = tmux.new("sqlite3")
    tmux.wait_for(name, "sqlite>")
    assert "sqlite waits there" in call(tmux, "sane-wait-ready", name, "0.3", code=1)["reason"]
    assert call(tmux, "sane-detect-mode", name)["shell"] == "sqlite"


def test_a_pager_that_a_shell_starts_in_its_own_place_is_named(tmux: Tmux) -> None:
    name = tmux.new("fish --no-config")
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, "if\n")  # fish shows its help
    tmux.wait_for(name, "conditionally execute")
    with pytest.raises(PaneError, match="less is running there"):
        pane.run("echo mixed", timeout_s=0.3)
    assert "conditionally execute" in tmux.screen(name)
    tmux.type(name, "q")
    assert pane.run("echo mine").output == b"mine\n"
    pane.close()


TRANSIENT = {
    "one line": ("PROMPT='a long prompt %~ here > $ '\n", "zle-line-finish"),
    "two lines": ("PROMPT=$'%~ is where\\na long prompt here > $ '\n", "zle-line-finish"),
}


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_prompt_that_shrinks_behind_a_command_stands_before_it(tmux: Tmux, kind: str, width: int) -> None:
    prompt, hook = TRANSIENT[kind]
    text = f"{prompt}full=$PROMPT\n{hook}() {{ PROMPT='❯ '; zle .reset-prompt }}; zle -N {hook}\nprecmd() {{ PROMPT=$full }}\n"
    name = tmux.new(shell_with(tmux, "zsh", text), width=width)
    tmux.wait_for(name, "> $")
    pane = tmux.open(name)
    for n in range(3):
        assert pane.run(f"echo hi{n}").text == f"hi{n}\n"
    screen = tmux.wait_for(name, "hi2\n" + ("~ is" if kind == "two lines" else "a long"))
    assert screen.startswith("❯ echo hi0\nhi0\n❯ echo hi1\nhi1\n❯ echo hi2\nhi2\n")
    pane.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("text", ["echo 50 %", "echo x >", "echo x > "])
def test_a_begun_line_that_ends_as_prompts_do_is_none(tmux: Tmux, shell: str, text: str) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    pane.run("set -g fish_autosuggestion_enabled 0" if shell == "fish" else "true")
    run_blocking(pane.transport.wait_idle(5))  # else the kernel shows the text, before the prompt is there
    tmux.type(name, text)
    before = tmux.wait_for(name, text.rstrip())
    with pytest.raises(PaneError, match="typing there"):
        pane.run("echo mixed", timeout_s=0.5)
    assert tmux.screen(name) == before
    pane.close()


def test_a_prompt_that_holds_what_others_end_with_is_one(tmux: Tmux) -> None:
    name = tmux.new("env PS1='a > b $ ' bash --norc")
    pane = tmux.open(name)
    for _ in range(2):
        assert pane.run("echo x").output == b"x\n"
    tmux.wait_for(name, "echo x\nx\na > b $ echo x\nx\na > b $")
    assert tmux.screen(name) == "a > b $ echo x\nx\na > b $ echo x\nx\na > b $"
    pane.close()


# What shows the mode, so that it is known when Esc has been taken: the program, its start file, the mode's name.
VI_MODES = {
    "bash": ("bash", "PS1='$ '; HISTCONTROL=ignoreboth; set -o vi; bind 'set show-mode-in-prompt on'\n", "(cmd)$"),
    "zsh": (
        "zsh",
        "PROMPT='%# '; setopt hist_ignore_space; bindkey -v\n"
        'zle-keymap-select() { PROMPT="$KEYMAP %# "; zle reset-prompt }; zle -N zle-keymap-select\n',
        "vicmd",
    ),
    "fish": ("fish", "set fish_greeting\nfish_vi_key_bindings\n", "[N]"),
}


@pytest.mark.parametrize("script", ["echo hi", f": {'x' * 4000}; sh -c 'exit 5'", "the shell's name"])
@pytest.mark.parametrize("shell", VI_MODES)
def test_vis_command_mode_is_left_and_nothing_else_is_run(tmux: Tmux, shell: str, script: str) -> None:
    """Each letter of a line is a command there: the person's last line came back, mangled, and was run."""
    program, text, mode = VI_MODES[shell]
    ran = tmux.folder / f"ran-{shell}"
    ran.unlink(missing_ok=True)
    name = tmux.new(shell_with(tmux, program, text).replace("--no-config ", ""))  # it has vi's keys in its config alone
    tmux.wait_for(name, "[I]" if shell == "fish" else "(ins)" if shell == "bash" else "#")
    tmux.type(name, f"echo again one two three >>{ran}; echo do''ne\n")
    tmux.wait_for(name, "\ndone\n")
    tmux.call("send-keys", "-t", name, "Escape")
    tmux.wait_for(name, mode)
    pane = tmux.open(name)
    began = time.monotonic()
    if script == "the shell's name":
        assert run_blocking(pane.transport.ask_shell(2.0)) == shell
    else:
        result = pane.run(script)
        assert (result.output, result.exit_code) == ((b"hi\n", 0) if script == "echo hi" else (b"", 5))
    assert time.monotonic() - began < 4  # 0.03 s on a quiet machine
    assert ran.read_text() == "again one two three\n"
    pane.run("clear")
    history = pane.run("history" if shell != "zsh" else "fc -l 1").text
    assert "again" in history
    assert not [word for word in ("ltin", "sane_l", "stty", "head") if word in history]
    pane.close()
