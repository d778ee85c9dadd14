"""Deployments whose log is a real PostgreSQL: one controller at a time, from machines that share nothing but the log."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sane.store import open_store
from sane.store.base import DeploymentRow, HostRow
from sane.store.reading import read_events
from tests.e2e.deploy_fixtures import Site, lab, open_site, wait_for
from tests.store.conftest import postgres_schema_url, postgres_server, postgres_url

__all__ = ["lab", "open_site", "postgres_schema_url", "postgres_url"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]
ONCE = ["put 1.0.0", "turn 1.0.0"]
WAIT_FOR_GO = "while [ ! -e {{ root }}/go ]; do sleep 0.05; done"


def machine(url: str, tmp_path: Path, name: str) -> dict[str, str]:
    """Return the environment of a controller with a state directory of its own and the common log."""
    return {"SANE_DATABASE_URL": url, "SANE_STATE_DIR": str(tmp_path / name), "SANE_LEASE_TTL": "1s"}


def test_of_two_controllers_in_the_same_second_one_proceeds_and_the_other_is_refused(
    open_site: OpenSite, postgres_schema_url: str, tmp_path: Path
) -> None:
    site = open_site(2, turn="sleep 1")
    words = site.deploy_words("1.0.0", "--output", "json")
    both = [site.start(*words, environ=machine(postgres_schema_url, tmp_path, name)) for name in ("one", "two")]
    said = [process.communicate(timeout=30) for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 7], said
    assert f"-{both[codes.index(0)].pid}" in said[codes.index(7)][1]  # the owner's name holds its process id
    assert (site.marks("server1"), site.marks("server2")) == (ONCE, ONCE)


def test_another_machine_resumes_what_a_killed_controller_began_and_runs_no_step_twice(
    open_site: OpenSite, postgres_schema_url: str, tmp_path: Path
) -> None:
    site = open_site(2, turn=WAIT_FOR_GO)
    process = site.start(*site.deploy_words("1.0.0"), environ=machine(postgres_schema_url, tmp_path, "one"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    process.kill()
    process.wait(timeout=5)
    for host in ("server1", "server2"):
        (site.root(host) / "go").touch()

    def resumed() -> dict[str, object] | None:
        words = ("resume", "app", "--output", "json")
        second = site.start(*words, environ=machine(postgres_schema_url, tmp_path, "two"))
        out, err = second.communicate(timeout=30)
        assert second.returncode in (0, 7), err  # 7: nobody there knows that it died, before its lease of 1 s ends
        return json.loads(out) if second.returncode == 0 else None

    report = wait_for(resumed, 20, "the end of the dead controller's lease")
    assert report["status"] == "successful"
    assert (site.marks("server1"), site.marks("server2")) == (ONCE, ONCE)


def test_a_deployment_outlasts_a_restart_of_the_database_that_covers_a_renewal_of_its_lease(
    open_site: OpenSite, tmp_path: Path
) -> None:
    with postgres_server() as server:
        site = open_site(1, turn=WAIT_FOR_GO)
        environ = {**machine(server.url, tmp_path, "one"), "SANE_LEASE_TTL": "12s"}
        process = site.start(*site.deploy_words("1.0.0", "--output", "json"), environ=environ)
        wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
        server.stop()
        time.sleep(4.2)  # longer than from one renewal to the next
        server.start()
        (site.root("server1") / "go").touch()
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "successful"
    assert "requests were not heard for a moment" in err
    assert "[server1] switch: turn: ok" in err, "who looks on sees what comes behind the restart"
    assert "Traceback" not in err
    assert site.marks("server1") == ONCE


def test_a_deployment_whose_database_stays_away_is_interrupted_and_names_the_way_on(
    open_site: OpenSite, tmp_path: Path
) -> None:
    with postgres_server() as server:
        site = open_site(1, turn=WAIT_FOR_GO)
        environ = machine(server.url, tmp_path, "one")
        process = site.start(*site.deploy_words("1.0.0"), environ=environ)
        wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
        server.stop()
        _, err = process.communicate(timeout=30)
        assert process.returncode == 9, err
        assert "could not be renewed" in err
        server.start()
        (site.root("server1") / "go").touch()
        (deployment,) = re.findall(r"sane resume (\S+) goes on", err)
        resumed = site.start("resume", deployment, environ=environ)
        _, said = resumed.communicate(timeout=30)
    assert resumed.returncode == 0, said
    assert site.marks("server1") == ONCE


def test_the_same_log_gives_the_same_views_in_both_databases(
    open_site: OpenSite, postgres_schema_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANE_DATABASE_URL", postgres_schema_url)
    site = open_site(3)
    assert site.deploy("1.0.0").exit_code == 0
    site.say("server3", "1.1.0", "unhealthy")
    assert site.deploy("1.1.0", "--on-failure", "revert_all").exit_code == 5
    first, again, copied = asyncio.run(_views(postgres_schema_url, tmp_path))
    assert [row.status for row in first[0]] == ["reverted", "successful"]
    assert {row.host: row.version for row in first[1]} == dict.fromkeys(("server1", "server2", "server3"), "1.0.0")
    assert again == first
    assert copied == first


async def _views(url: str, tmp_path: Path) -> list[tuple[list[DeploymentRow], list[HostRow]]]:
    """Return deployments and hosts as they are, made anew from the log, and from a copy of the log in SQLite."""
    postgres, sqlite = await open_store(url, tmp_path / "unused"), await open_store(None, tmp_path / "copy")
    try:
        found = [(await postgres.list_deployments(), await postgres.list_hosts("app"))]
        await postgres.rebuild_views()
        found.append((await postgres.list_deployments(), await postgres.list_hosts("app")))
        async for event in read_events(postgres):
            await sqlite.append([replace(event, seq=0)])
        found.append((await sqlite.list_deployments(), await sqlite.list_hosts("app")))
        return found
    finally:
        await postgres.close()
        await sqlite.close()
