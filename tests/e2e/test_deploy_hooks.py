"""Hooks run once a deployment, on this machine, at their time, and never twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.deploy_fixtures import Site, call, lab, open_site, wait_for

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]


def with_hooks(site: Site, log: Path, before: str = "true") -> None:
    site.workflow.write_text(
        site.workflow.read_text()
        + f"""\
hooks:
  pre_deploy:
    - name: announce
      run-command: echo pre $SANE_VERSION >>{log}; {before}
  post_deploy:
    - name: tell
      run-command: echo post $SANE_VERSION >>{log}
  on_failure:
    - name: call for help
      run-command: echo failure $SANE_VERSION >>{log}
"""
    )


def test_hooks_stand_around_a_deployment_that_goes_well(open_site: OpenSite, tmp_path: Path) -> None:
    site, log = open_site(1), tmp_path / "log"
    with_hooks(site, log)
    answer = site.deploy("1.0.0")
    assert answer.exit_code == 0, answer.stderr
    assert log.read_text().splitlines() == ["pre 1.0.0", "post 1.0.0"]


def test_a_failed_first_hook_fails_the_deployment_and_touches_no_host(open_site: OpenSite, tmp_path: Path) -> None:
    site, log = open_site(1), tmp_path / "log"
    with_hooks(site, log, before="echo not today >&2; exit 3")
    answer = site.deploy("1.0.0")
    assert answer.exit_code == 4, answer.stderr
    assert "hook pre_deploy, step 'announce': not today" in answer.report["description"]
    assert site.marks("server1") == []
    assert log.read_text().splitlines() == ["pre 1.0.0", "failure 1.0.0"]


def test_a_failed_host_calls_the_hook_of_failure(open_site: OpenSite, tmp_path: Path) -> None:
    site, log = open_site(1), tmp_path / "log"
    with_hooks(site, log)
    site.lab.fault("server1", "fail-step:turn")
    assert site.deploy("1.0.0").exit_code == 4
    assert log.read_text().splitlines() == ["pre 1.0.0", "failure 1.0.0"]


def test_a_hook_that_was_cut_off_is_not_begun_again(open_site: OpenSite, tmp_path: Path) -> None:
    site, log = open_site(1), tmp_path / "log"
    with_hooks(site, log, before=f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(log.exists, 20, "the hook")
    process.kill()
    process.wait(timeout=5)
    resumed = site.start("resume", "app")
    (tmp_path / "go").touch()
    out, err = resumed.communicate(timeout=30)
    assert resumed.returncode == 0, (out, err)
    assert log.read_text().splitlines() == ["pre 1.0.0", "post 1.0.0"]
    assert call("deployment", "status", "app", "--query", "status").stdout.strip() == '"successful"'


def test_a_last_hook_that_was_cut_off_is_ended_by_a_resume(open_site: OpenSite, tmp_path: Path) -> None:
    site, log = open_site(1), tmp_path / "log"
    with_hooks(site, log)
    text = site.workflow.read_text()
    wait = f"; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo last >>{log}"
    site.workflow.write_text(text.replace(f"echo post $SANE_VERSION >>{log}", f"echo post >>{log}{wait}"))
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: log.exists() and "post" in log.read_text(), 20, "the hook")
    process.kill()
    process.wait(timeout=5)
    (tmp_path / "go").touch()
    assert call("resume", "app").exit_code == 0
    assert call("resume", "app").exit_code == 7, "it has ended, and so has its hook"
    assert log.read_text().splitlines() == ["pre 1.0.0", "post", "last"]


def test_a_last_hook_that_fails_is_in_the_report_and_in_the_exit_status(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(1)
    broken = "echo begun; echo no such channel >&2; exit 3"
    site.workflow.write_text(
        site.workflow.read_text() + f"hooks:\n  post_deploy:\n    - name: tell\n      run-command: {broken}\n"
    )
    answer = site.deploy("1.0.0")
    assert answer.exit_code == 3, answer.stdout
    assert (answer.report["status"], answer.hosts()) == ("successful", {"server1": "healthy"})
    (hook,) = answer.report["hooks"]
    assert (hook["hook"], hook["step"], hook["exit_code"], hook["error"]) == (
        "post_deploy",
        "tell",
        3,
        "no such channel",
    )
    assert hook["output_tail"].splitlines() == ["begun", "no such channel"]
    assert Path(hook["output_file"]).read_text() == hook["output_tail"]
    status = call("deployment", "status", "app")
    assert status.exit_code == 3
    assert "✗ hook post_deploy failed in step 'tell', exit code 3: no such channel" in status.stdout
    assert "│ begun" in status.stdout
    assert call("deployment", "rollback", "app").exit_code == 2, "the revision is stable, and is the only one"
    assert "★" in call("deployment", "list").stdout


def test_a_hook_is_named_in_the_lines_of_progress(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(1)
    with_hooks(site, tmp_path / "log")
    lines = site.deploy("1.0.0").stderr.splitlines()
    assert [line for line in lines if line.startswith("hook pre_deploy: announce: ok (")], lines
    assert not [line for line in lines if line.startswith("[]")]
