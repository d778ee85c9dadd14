"""Bad input, and faults of hosts: each is named, costs a bounded time, and harms no other host."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sane.operations.lab.processes import descendants, end, identify_all
from tests.e2e.deploy_fixtures import Site, call, events_of, lab, open_site, wait_for
from tests.processes import name_of
from tests.transports.sshd import make_key

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]
BAD_INPUT_S = 2.0  # nothing is connected to: what is wrong is known at once


@pytest.fixture
def no_hosts(tmp_path: Path) -> Path:
    """Return an inventory whose hosts nobody should ever connect to: nothing listens there."""
    path = tmp_path / "hosts.yaml"
    path.write_text("hosts:\n  web1: {address: 127.0.0.1, port: 1}\n  web2: {address: 127.0.0.1, port: 1}\n")
    return path


def refuse(words: list[str], *texts: str) -> None:
    answer = call(*words)
    assert answer.exit_code == 2, answer
    assert answer.duration_s < BAD_INPUT_S
    assert answer.stdout == ""
    for text in texts:
        assert text in answer.stderr
    assert call("deployment", "list", "--output", "json").stdout.strip() == "[]"


READY = "workflows/multi-server-deploy.yaml"


@pytest.mark.parametrize("pattern", ["web9", "nothing*", "web1:!web1"])
def test_a_pattern_that_matches_nothing_is_an_error(no_hosts: Path, pattern: str) -> None:
    refuse(["deploy", READY, "-i", str(no_hosts), "--version", "1", "--limit", pattern], "web")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: {web1: {adress: 10.0.0.1}}\n", ("hosts.yaml:1", "adress", "address")),
        ("hosts:\n  web1: {port: 1}\n  web1: {port: 2}\n", ("hosts.yaml:3", "web1")),
        ("hosts:\n  web1: {port: many}\n", ("hosts.yaml:2", "port")),
        ("hosts: {web1: 7}\n", ("hosts.yaml:1", "web1")),
        ("hosts: {}\n", ("hosts.yaml", "host")),
        ("", ("hosts.yaml",)),
        ("hosts: {web1: {port: 22\n", ("hosts.yaml",)),
    ],
)
def test_a_wrong_inventory_names_the_file_the_line_and_the_mistake(
    tmp_path: Path, text: str, said: tuple[str, ...]
) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    refuse(["deploy", READY, "-i", str(path), "--version", "1"], *said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nstage:\n  - run-comand: ls\n", ("wf.yaml:3", "run-comand", "run-command")),
        ("name: a\nstages: []\n", ("wf.yaml:2", "stages", "stage")),
        ("name: a\nname: b\nstage:\n  - run-command: ls\n", ("wf.yaml:2", "name")),
        ("name: a\nstage: 3\n", ("wf.yaml:2", "stage")),
        ("name: a\npolicy: {max_parallel: many}\nstage:\n  - run-command: ls\n", ("wf.yaml:2", "max_parallel")),
        ("name: a\nstage:\n  - {run-command: ls, when: 'a ='}\n", ("wf.yaml:3",)),
    ],
)
def test_a_wrong_workflow_names_the_file_the_line_and_the_mistake(
    tmp_path: Path, no_hosts: Path, text: str, said: tuple[str, ...]
) -> None:
    path = tmp_path / "wf.yaml"
    path.write_text(text)
    refuse(["deploy", str(path), "-i", str(no_hosts), "--version", "1"], *said)


def test_wrong_options_are_refused_before_anything_is_touched(no_hosts: Path, tmp_path: Path) -> None:
    words = ["deploy", READY, "-i", str(no_hosts), "--version", "1"]
    refuse([*words, "--max-parallel", "many"], "max_parallel")
    refuse([*words, "--strategy", "canry"], "strategy")
    refuse([*words, "--min-healthy", "5 parsecs"], "min_healthy")
    refuse([*words, "--min-healthy", "5"], "min_healthy has no unit")
    refuse([*words, "--on-failure", "stop", "--auto-revert"], "contradicts")
    (tmp_path / "stage.yaml").write_text("name: app\nhealth: none\nstage: [{name: a, run-command: 'true'}]\n")
    only_stage = ["deploy", str(tmp_path / "stage.yaml"), *words[2:]]
    refuse([*only_stage, "--on-failure", "revert_all"], "needs a revert part")
    refuse(["deploy", READY, "-i", str(tmp_path / "none.yaml"), "--version", "1"], "none.yaml")
    refuse(["deploy", READY, "-i", str(no_hosts), "--version", "../etc"], "version")


def deploy_with(site: Site, fault: Callable[[], object], bound_s: float, *options: str) -> dict[str, object]:
    """Deploy to two good hosts and a bad third; return the report of the bad one."""
    fault()
    answer = site.deploy("1.0.0", "--max-failures", "1", "--max-parallel", "3", *options)
    assert answer.exit_code == 3, answer.stderr
    assert answer.duration_s < bound_s
    assert (answer.hosts()["server1"], answer.hosts()["server3"]) == ("healthy", "healthy")
    return answer.report["hosts"][1]


def test_a_refusing_port_is_unreachable_in_the_phase_connect(open_site: OpenSite) -> None:
    site = open_site(3)
    bad = deploy_with(site, lambda: site.lab.fault("server2", "refuse"), 10)
    assert bad["status"] == "unreachable"
    assert "refused" in str(bad["error"])


def test_a_host_that_never_speaks_is_named_with_its_phase_after_its_own_timeout(open_site: OpenSite) -> None:
    site = open_site(3)
    site.set_connect_timeout("1s")
    bad = deploy_with(site, lambda: site.lab.fault("server2", "silent"), 8)
    assert bad["status"] == "unreachable"
    assert "banner" in str(bad["error"])


def test_a_changed_host_key_is_refused(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(3)

    def change() -> None:
        other = Path(f"{make_key(tmp_path / 'other')}.pub").read_text().split()[1]
        known = site.lab.lab.known_hosts
        lines = known.read_text().splitlines()
        lines[1] = " ".join([*lines[1].split()[:2], other])
        known.write_text("\n".join(lines) + "\n")

    bad = deploy_with(site, change, 10)
    assert bad["status"] == "unreachable"
    assert "host key" in str(bad["error"]).lower()
    assert site.marks("server2") == []


def test_a_wrong_user_key_is_refused_at_the_login(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(3)

    def change() -> None:
        wrong = make_key(tmp_path / "wrong")
        lines = site.inventory.read_text().splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if "server2:" in line)
        lines[at] = lines[at].replace(str(site.lab.lab.user_key), str(wrong))
        site.inventory.write_text("".join(lines))

    bad = deploy_with(site, change, 10)
    assert bad["status"] == "unreachable"
    assert "login" in str(bad["error"]) or "refused" in str(bad["error"])


def test_a_full_disk_is_found_before_anything_is_changed(open_site: OpenSite) -> None:
    site = open_site(3)
    bad = deploy_with(site, lambda: site.lab.fault("server2", "full-disk"), 10)
    assert (bad["status"], bad["step"]) == ("failed", "preflight")
    assert "No space left on device" in str(bad["error"])
    assert "Free space" in str(bad["hint"])
    assert site.marks("server2") == []


def test_equal_failures_are_one_line_and_no_host_is_changed(open_site: OpenSite) -> None:
    site = open_site(4)
    for number in (1, 2, 4):
        site.lab.fault(f"server{number}", "refuse")
    answer = call(*site.deploy_words("1.0.0"))
    assert answer.exit_code == 4, answer.stderr
    folded = [line for line in answer.stdout.splitlines() if "server[1-2,4]" in line]
    assert len(folded) == 1
    assert "refused" in folded[0]
    assert site.marks("server3") == []


UNTOLD = "mv -f {{ health_path }}.new {{ health_path }}"
HEALTH = {
    "missing": ("true", "missing", "there is no health file"),
    "old": (
        f"""{{ printf '{{"status":"ok","version":"1.0.0"}}' >{{{{ health_path }}}}.new; }} &&
      touch -d '1 hour ago' {{{{ health_path }}}}.new && {UNTOLD}""",
        "stale",
        "before the activation",
    ),
    "of another activation": (
        """printf '{"status":"ok","version":"1.0.0","nonce":"abc"}' >{{ health_path }}""",
        "stale",
        "another activation",
    ),
    "wrong version": (
        """printf '{"status":"ok","version":"0.9"}' >{{ health_path }}""",
        "version_mismatch",
        'version is "0.9"',
    ),
    "half written": ("""printf '{"status":"ok","vers' >{{ health_path }}""", "malformed", "not JSON"),
    "1 GB": ("truncate -s 1G {{ health_path }}", "malformed", "1073741824 bytes"),
    "unhealthy": (
        """while [ -d {{ root }} ]; do
        printf '{"status":"unhealthy","version":"1.0.0"}' >{{ health_path }}.new; mv {{ health_path }}.new {{ health_path }}
        sleep 0.1
      done >/dev/null 2>&1 &""",
        "fail",
        'status is "unhealthy"',
    ),
}


@pytest.mark.parametrize("case", HEALTH)
def test_a_health_file_that_proves_nothing_fails_the_host_and_says_which_rule(open_site: OpenSite, case: str) -> None:
    script, verdict, reason = HEALTH[case]
    site = open_site(1, deadline="1s", poll="200ms", say=script)
    answer = site.deploy("1.0.0")
    assert answer.exit_code == 4, answer.stderr
    assert answer.duration_s < 10
    host = answer.report["hosts"][0]
    assert (host["status"], host["health"]["verdict"]) == ("failed", verdict)
    assert reason in host["health"]["reason"]
    assert reason in host["error"]


WAITING = "while [ ! -e {{ root }}/go ]; do sleep 0.05; done"
ONCE = ["put 1.0.0", "turn 1.0.0"]


def kill_sshd(site: Site, host: str) -> None:
    """Kill a host's sshd and those of its sessions, and nothing that they started."""
    server = site.lab.lab.hosts[host].server
    assert server is not None
    pids = [pid for pid in descendants({server.pid}) if name_of(pid).startswith("sshd")]
    assert len(pids) > 1
    end(identify_all(pids))


def test_an_sshd_killed_in_a_step_and_back_again_finds_the_step_where_it_was(open_site: OpenSite) -> None:
    site = open_site(1, turn=WAITING)
    process = site.start(*site.deploy_words("1.0.0", "--output", "json"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    kill_sshd(site, "server1")
    began = time.monotonic()
    site.lab.fault("server1", "heal")
    (site.root("server1") / "go").touch()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert time.monotonic() - began < 20
    assert site.marks("server1") == ONCE


def test_a_step_killed_with_its_host_is_not_run_again_and_not_believed(open_site: OpenSite) -> None:
    site = open_site(1, turn=WAITING, deadline="1s", poll="200ms")
    process = site.start(*site.deploy_words("1.0.0", "--output", "json"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    site.lab.fault("server1", "kill")  # the step with it
    site.lab.fault("server1", "heal")
    out, err = process.communicate(timeout=40)
    assert process.returncode == 4, (out, err)
    assert site.marks("server1") == ONCE
    assert [e["data"]["to"] for e in events_of("app", "host_transition")] == ["unknown", "checking", "failed"]


def test_an_inconclusive_when_fails_the_step_and_a_false_one_skips_it(open_site: OpenSite) -> None:
    site = open_site(1)
    text = site.workflow.read_text()
    site.workflow.write_text(text.replace("  - name: turn\n", "  - name: turn\n    when: vars.color == 'blue'\n"))
    answer = site.deploy("1.0.0")
    assert answer.exit_code == 4, answer.stderr
    assert "when is inconclusive" in answer.report["hosts"][0]["error"]
    skipped = site.deploy("1.0.0", "--var", "color=red")
    assert skipped.exit_code == 0, skipped.stderr
    assert site.marks("server1") == ["put 1.0.0", "put 1.0.0"]


def test_one_silent_host_of_a_fan_out_costs_the_others_nothing(open_site: OpenSite) -> None:
    site = open_site(3)
    site.set_connect_timeout("2s")
    site.lab.fault("server2", "silent")
    process = site.start("run", "-i", str(site.inventory), "all", "--", "date", "+%s.%N", "-u")
    out, err = process.communicate(timeout=20)
    assert process.returncode in (3, 4), (out, err)
    assert "server2" in out + err
    assert "banner" in out + err
