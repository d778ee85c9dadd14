"""The views: what they say, and that the log alone determines it."""

from __future__ import annotations

import tempfile
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sane.core.events import Event
from sane.errors import ConflictError, UsageError
from sane.store import open_store
from sane.store.base import DeploymentRow, HostRow, Store


def created(revision: int, deployment: str, key: str = "web", at_ms: int = 1, **data: Any) -> Event:
    fields = {"revision": revision, "version": f"v{revision}", "digest": f"sha{revision}", "hosts": [], "policy": {}}
    return Event("deployment_created", at_ms, key, deployment, data={**fields, **data})


def moved(deployment: str, to: str, at_ms: int = 2, reason: str = "") -> Event:
    return Event("deployment_transition", at_ms, "web", deployment, data={"from": "?", "to": to, "reason": reason})


def host(deployment: str, name: str, *states: str, at_ms: int = 3) -> list[Event]:
    return [Event("host_transition", at_ms, "web", deployment, name, {"from": "?", "to": state}) for state in states]


def found(deployment: str, name: str, version: str, digest: str) -> Event:
    data = {"operation": "o", "action": "preflight", "outcome": "ok"}
    return Event(
        "action_finished", 4, "web", deployment, name, {**data, "previous_version": version, "previous_digest": digest}
    )


async def test_a_deployment_is_shown_as_its_events_left_it(store: Store) -> None:
    await store.append([created(1, "d1", at_ms=10, idempotency_key="k", request_digest="r", reason="first")])
    (row,) = await store.list_deployments()
    assert row == DeploymentRow("d1", "web", 1, "v1", "sha1", "pending", "first", False, 10, 10, 1, "k", "r")
    await store.append([moved("d1", "running", 20), moved("d1", "failed", 30, "budget spent")])
    await store.append([Event("message", 40, "web", "d1", data={"text": "x"})])
    (row,) = await store.list_deployments()
    assert (row.status, row.reason, row.stable, row.updated_at_ms, row.seq) == ("failed", "budget spent", False, 30, 4)
    await store.append([created(2, "d2"), moved("d2", "running"), moved("d2", "successful"), created(1, "x", "db")])
    assert [(row.id, row.stable) for row in await store.list_deployments(key="web")] == [("d2", True), ("d1", False)]
    assert [row.id for row in await store.list_deployments(limit=1)] == ["x"]
    assert [row.key for row in await store.list_deployments(deployment="x")] == ["db"]
    assert await store.list_deployments(key="web", deployment="x") == []


async def test_a_host_has_what_was_proven_on_it(store: Store) -> None:
    async def now() -> tuple[Any, ...]:
        (row,) = await store.list_hosts("web")
        return row.status, row.version, row.digest, row.proven_by, row.previous_version

    await store.append([created(1, "d1"), *host("d1", "web1", "transferring", "activating")])
    assert await now() == ("activating", "", "", "", "")
    await store.append(host("d1", "web1", "checking", "healthy"))
    assert await now() == ("healthy", "v1", "sha1", "d1", "")
    await store.append([created(2, "d2"), *host("d2", "web1", "activating", "failed")])
    assert await now() == ("failed", "v1", "sha1", "d1", "")  # nobody has proven what it has now
    await store.append(host("d2", "web1", "reverting", "reverted"))
    assert await now() == ("reverted", "v1", "sha1", "d1", "")
    await store.append([created(3, "d3"), *host("d3", "web1", "healthy")])
    assert await now() == ("healthy", "v3", "sha3", "d3", "v1")
    await store.append(host("d3", "web1", "reverting", "reverted"))
    assert await now() == ("reverted", "v1", "sha1", "", "")
    await store.append(host("d3", "web1", "healthy"))  # a retry after the revert
    assert await now() == ("healthy", "v3", "sha3", "d3", "v1")
    await store.append([created(4, "d4", version="v3", digest="sha3"), *host("d4", "web1", "unchanged")])
    assert await now() == ("unchanged", "v3", "sha3", "d4", "v1")
    assert await store.list_hosts("db") == []


async def test_what_a_host_said_itself_is_believed_over_the_log(store: Store) -> None:
    await store.append([created(1, "d1"), found("d1", "web1", "v0", "sha0"), *host("d1", "web1", "healthy")])
    assert await store.list_hosts("web") == [
        HostRow("web", "web1", "d1", "healthy", "v1", "sha1", "d1", "v0", "sha0", 3, 3)
    ]
    await store.append([*host("d1", "web1", "reverting", "reverted")])
    (row,) = await store.list_hosts("web")
    assert (row.version, row.digest, row.previous_version) == ("v0", "sha0", "")


async def test_hosts_of_groups_get_the_versions_of_their_own(store: Store) -> None:
    hosts = [{"name": "a", "digest": "x"}, {"name": "b", "version": "vB", "digest": "y"}, {"name": "c"}]
    await store.append([created(1, "d1", version="vA", digest="x", hosts=hosts)])
    await store.append([event for name in "abc" for event in host("d1", name, "healthy")])
    rows = [(row.host, row.version, row.digest) for row in await store.list_hosts("web")]
    assert rows == [("a", "vA", "x"), ("b", "vB", "y"), ("c", "vA", "x")]
    same = [{"name": name, "version": "v2", "digest": "z"} for name in "ab"]
    await store.append([created(2, "d2", digest="", hosts=same)])
    assert (await store.list_deployments(deployment="d2"))[0].digest == "z"  # the one digest that they all share


DEPLOYMENTS = st.sampled_from(["d1", "d2", "d3", "d4", "gone"])
HOSTS = st.sampled_from(["", "a", "b"])
STATES = st.sampled_from(
    ["pending", "running", "successful", "healthy", "unchanged", "failed", "reverting", "reverted"]
)
TEXTS = st.one_of(st.none(), st.sampled_from(["", "v1", "v2"]), st.integers(0, 3), st.text(max_size=3))


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(["host_transition"] * 4 + ["deployment_transition", "action_finished", "message"]))
    data = {"from": "?", "to": draw(STATES), "reason": draw(TEXTS), "text": "", "operation": "o", "action": "stage"}
    data |= {"outcome": "ok", "previous_version": draw(TEXTS), "previous_digest": draw(TEXTS)}
    key = draw(st.sampled_from(["web", "db"]))
    return Event(kind, draw(st.integers(0, 99)), key, draw(DEPLOYMENTS), draw(HOSTS), data)


@st.composite
def creations(draw: st.DrawFn) -> Event:
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True))
    hosts = [draw(st.sampled_from([name, {"name": name, "version": "own", "digest": draw(TEXTS)}])) for name in names]
    event = created(draw(st.integers(1, 3)), draw(DEPLOYMENTS), draw(st.sampled_from(["web", "db"])))
    data = {**event.data, "version": draw(TEXTS), "digest": draw(TEXTS), "hosts": hosts, "idempotency_key": draw(TEXTS)}
    return Event(event.kind, 1, event.key, event.deployment, data=data)


LOGS = st.lists(st.one_of(creations(), events(), events()), max_size=40)


async def rows_of(store: Store) -> list[tuple[Any, ...]]:
    rows = [*await store.list_deployments(), *await store.list_hosts("web"), *await store.list_hosts("db")]
    return [astuple(row) for row in rows]


async def check_rebuild(url: str | None, directory: Path, log: list[Event]) -> None:
    store = await open_store(url, directory)
    try:
        for event in log:
            try:
                await (store.create_deployment(event) if event.kind == "deployment_created" else store.append([event]))
            except (ConflictError, UsageError):
                continue
        before, stored = await rows_of(store), await store.read(limit=10_000)
        await store.rebuild_views()
        assert await rows_of(store) == before
        assert await store.read(limit=10_000) == stored
    finally:
        await store.close()


@given(log=LOGS)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_rebuild_gives_the_views_that_were_kept_sqlite(log: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        await check_rebuild(None, Path(directory), log)


@given(log=LOGS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_rebuild_gives_the_views_that_were_kept_postgres(postgres_url: str, log: list[Event]) -> None:
    import asyncpg

    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DROP SCHEMA IF EXISTS rebuilt CASCADE")
    await connection.execute("CREATE SCHEMA rebuilt")
    await connection.close()
    await check_rebuild(f"{postgres_url}&search_path=rebuilt", Path("/nonexistent"), log)


async def test_a_rebuild_makes_good_what_was_damaged(store: Any) -> None:
    """A log of more than one page, whose views were emptied behind the store's back."""
    await store.append([created(1, "d1")])
    for number in range(6):
        await store.append([e for n in range(100) for e in host("d1", f"h{n}", "healthy" if number % 2 else "failed")])
    before = await rows_of(store)

    def damage() -> Any:
        from sane.store.script import Query

        yield Query("DELETE FROM hosts WHERE host < 'h5'")
        yield Query("UPDATE hosts SET host = 'ghost' WHERE host = 'h9'")
        yield Query("UPDATE hosts SET version = 'other', proven_by = 'nobody' WHERE host = 'h8'")
        yield Query("UPDATE deployments SET status = 'nonsense'")

    await store._write(damage)
    assert await rows_of(store) != before
    await store.rebuild_views()
    assert await rows_of(store) == before


async def test_both_databases_make_the_same_views(tmp_path: Path, postgres_schema_url: str) -> None:
    log = [created(1, "d1"), *host("d1", "b", "healthy"), *host("d1", "a", "failed"), moved("d1", "partial", 9, "one")]
    seen: list[list[tuple[Any, ...]]] = []
    for url in (None, postgres_schema_url):
        store = await open_store(url, tmp_path)
        await store.append(log)
        seen.append(await rows_of(store))
        await store.close()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


@pytest.mark.parametrize("revision", [0, -1, 2**70])
async def test_an_impossible_revision_is_refused(store: Store, revision: int) -> None:
    with pytest.raises(ConflictError):
        await store.create_deployment(created(revision, "d1"))
