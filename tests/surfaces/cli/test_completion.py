"""Tab, in the shells themselves: commands with whole descriptions, and the names that there are now."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.operations import lab as labs
from sane.operations.deployments import load_plan
from sane.operations.inputs import DeployRequest
from sane.surfaces.cli.main import COMMANDS

ROOT = Path(__file__).parents[3]
BOUND_S = 30
HOSTS = "hosts: {web1: {}, web2: {}, db1: {}}\ngroups: {web: {hosts: 'web*'}}\n"


def shell(*argv: str, cwd: Path) -> str:
    environment = {**os.environ, "PATH": f"{ROOT}/bin:{os.environ['PATH']}"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BOUND_S, check=False, cwd=cwd, env=environment)
    assert done.stderr == ""
    return done.stdout


def bash(line: str, cwd: Path) -> list[str]:
    """Return what bash would offer for the last word of a line that holds no colon."""
    return bash_offers(line, cwd).split()


def bash_offers(line: str, cwd: Path) -> str:
    """Return the same, an offer a line."""
    script = (
        '. <(sane completion bash); COMP_LINE=$1; COMP_POINT=${#1}; read -ra COMP_WORDS <<<"$1"; '
        '[[ $1 == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_WORDBREAKS=$\' \\t\\n"\\\'><=;|&(:\'; '
        'compopt() { :; }; f=$(complete -p "${COMP_WORDS[0]}"); f=${f#*-F }; ${f%% *} "${COMP_WORDS[0]}"; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return shell("bash", "--norc", "-c", script, "bash", line, cwd=cwd)


def fish(line: str, cwd: Path) -> dict[str, str]:
    """Return what fish would offer for the last word of a line, with the descriptions."""
    out = shell("fish", "--no-config", "-c", f"sane completion fish | source; complete -C'{line}'", cwd=cwd)
    return {word: text for word, _, text in (row.partition("\t") for row in out.splitlines())}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "hosts.yaml").write_text(HOSTS)
    return tmp_path


def test_commands_come_with_their_whole_summaries(place: Path) -> None:
    offered = fish("sane ", place)
    assert {name: offered[name] for name in COMMANDS} == {name: text for name, (_, text) in COMMANDS.items()}
    assert bash("sane deployment p", place) == ["pause", "promote"]


def test_hosts_are_those_of_the_inventory_that_the_line_names(place: Path) -> None:
    line = "sane run -i hosts.yaml "
    assert set(bash(line, place)) == set(fish(line, place)) == {"all", "@web", "web1", "web2", "db1"}
    assert bash(line + "web1,w", place) == ["web1,web1", "web1,web2"]
    assert bash("sane run ", place) == []
    assert bash("sane health explain -i none.yaml ", place) == []


def test_values_with_a_closed_list_of_words(place: Path) -> None:
    assert bash("sane deploy --strategy ", place) == ["rolling", "canary", "blue-green"]
    assert bash("sane deploy --on-failure revert_", place) == ["revert_failed", "revert_all"]


def test_what_is_wrong_says_nothing_into_the_line(place: Path) -> None:
    assert "deploy" in bash("sane deplyo ", place)  # the word may still be mended
    assert "fault" in bash("sane lab fualt ", place)
    assert bash("sane retry ", place) == []  # and no log is made for it
    assert not (Path(os.environ["SANE_STATE_DIR"]) / "sane.db").exists()


async def test_deployments_by_key_and_by_id(place: Path) -> None:
    from sane.operations.deployments import create_deployment, opened_store

    (place / "app.yaml").write_text("name: app\nhealth: none\nstage: [{run-command: 'true'}]\n")
    request = DeployRequest(place / "app.yaml", place / "hosts.yaml", "1.0")
    async with opened_store() as store:
        made = await create_deployment(store, load_plan(request), request)
    for line in ("sane retry ", "sane deployment status a"):
        assert await asyncio.to_thread(bash, line, place) == ["app", made.deployment]
    assert await asyncio.to_thread(bash, "sane events --deployment ", place) == [made.deployment]
    assert await asyncio.to_thread(bash, "sane deployment rollback ", place) == ["app"]


@pytest.fixture
def lab() -> Iterator[Path]:
    path = Path(os.environ["SANE_STATE_DIR"]) / "lab"
    labs.start(path, 2)
    yield path
    labs.end(path)


@pytest.mark.e2e
def test_the_hosts_and_faults_of_the_lab(lab: Path, place: Path) -> None:
    assert bash("sane lab fault ", place) == ["server1", "server2"]
    assert bash(f"sane lab fault --dir {lab} server1 s", place) == ["silent", "stop", "slow:", "stale"]


def test_a_primitive_completes_its_target_first_and_files_after_it(place: Path) -> None:
    assert "local:" in bash("sane-run-command ", place)
    assert bash("sane-run-command lo", place) == ["local:"]
    assert bash("sane-run-command local: lo", place) == []  # bash takes files then
    assert bash("sane-run-command --ou", place) == ["--output"]
    assert "--exit-status" in bash("sane-run-command --", place)
    assert "--exit-status" not in bash("sane-list-panes --", place)
    assert "local:" in fish("sane-run-command ", place)
    assert "local:" not in fish("sane-run-command local: ", place)


def test_a_primitive_completes_its_own_options(place: Path) -> None:
    offered = bash("sane-create-file local: --", place)
    assert {"--stdin", "--exact", "--mode", "--encoding", "--timeout", "--query"} <= set(offered)
    assert bash("sane-read-file local: --lim", place) == ["--limit-bytes"]
    assert fish("sane-create-file local: --exa", place) == {"--exact": "add no newline"}
    script = (
        ". <(sane completion zsh); compadd() { shift; print -l -- $@; }; PREFIX=--; CURRENT=3; "
        "words=(sane-create-file local: --); _sane_targets"
    )
    assert {"--stdin", "--exact"} <= set(shell("zsh", "-f", "-c", script, cwd=place).split())


@pytest.mark.e2e
def test_a_session_may_be_named_like_a_command(place: Path) -> None:
    made = place / "made"
    subprocess.run(["tmux", "new-session", "-d", "-s", f"a$(touch {made})b c", "sh"], check=True)
    try:
        offered = bash_offers("sane-run-command ", place)
        assert f"a\\$\\(touch\\ {made}\\)b\\ c:0.0" in offered
        assert f"a$(touch {made})b c:0.0" in fish("sane-run-command ", place)
        assert not made.exists()
    finally:
        subprocess.run(["tmux", "kill-server"], check=True)


def test_zsh_needs_no_more_than_the_line_in_an_empty_zshrc(place: Path) -> None:
    script = ". <(sane completion zsh); print -l $_comps[sane] $_comps[sane-run-command]"
    assert shell("zsh", "-f", "-c", script, cwd=place).split() == ["_sane_completion", "_sane_targets"]


def test_plan_offers_its_subcommands_and_what_a_rollout_takes(place: Path) -> None:
    (place / "workflows").mkdir()
    assert set(fish("sane plan wor", place)) == {"workflows/"}
    assert set(fish("sane plan hos", place)) == {"hosts.yaml"}
    assert set(fish("sane plan app", place)) == {"approve"}
    assert bash("sane plan ap", place) == ["approve"]
    assert "--inventory" in bash("sane plan --inv", place)
    assert set(bash("sane plan app.yaml -i hosts.yaml --limit w", place)) == {"web1", "web2"}
    assert asked_of_bash("sane plan wor", place) == "file,wor"


def asked_of_bash(line: str, place: Path) -> str:
    """Return what the script of bash is told to offer."""
    words = {"_SANE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = subprocess.run(
        [ROOT / "bin" / "sane"],
        capture_output=True, text=True, timeout=BOUND_S, check=False, cwd=ROOT, env={**os.environ, **words},
    )  # fmt: skip
    return done.stdout.strip()
