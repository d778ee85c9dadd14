"""What the log promises, on both databases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sane.core.events import Event
from sane.errors import ConflictError, StoreError, UsageError
from sane.store import open_store
from sane.store.base import Store

if TYPE_CHECKING:
    from tests.store.conftest import OpenAnother


def message(text: str = "hello", deployment: str = "d1", key: str = "web", **data: Any) -> Event:
    return Event("message", 5, key, deployment, "web1", {"text": text, **data})


def created(revision: Any, deployment: str = "d1", key: str = "web", **data: Any) -> Event:
    fields = {"revision": revision, "version": f"{revision}.0", "hosts": [], "policy": {}}
    return Event("deployment_created", 7, key, deployment, data={**fields, **data})


async def test_events_come_back_as_they_were_in_order_from_one(store: Store) -> None:
    odd = message('ünï "quoted" \0 \ud800 \n', nested={"list": [1, 2.5, None, True]})
    stored = await store.append([message("a"), odd])
    assert [event.seq for event in stored] == [1, 2]
    assert await store.read() == stored
    assert stored[1] == odd.numbered(2)
    assert [event.seq for event in await store.append([message("c")])] == [3]


async def test_published_events_are_not_stored(store: Store) -> None:
    output = Event("output", 5, "web", "d1", "web1", {"step": "copy", "text": "42%"})
    assert [event.seq for event in await store.append([message(), output, message()])] == [1, 0, 2]
    assert [event.seq for event in await store.append([output])] == [0]
    assert [event.kind for event in await store.read()] == ["message", "message"]
    assert await store.append([]) == []


async def test_read_filters_and_pages(store: Store) -> None:
    await store.append([created(1), message("x", "d1"), message("y", "d2", "db"), message("z", "d1")])
    assert [event.seq for event in await store.read(key="web")] == [1, 2, 4]
    assert [event.seq for event in await store.read(deployment="d2")] == [3]
    assert [event.seq for event in await store.read(1, key="web", deployment="d1", kinds={"message"})] == [2, 4]
    assert [event.seq for event in await store.read(kinds=("message", "deployment_created"), limit=2)] == [1, 2]
    assert [event.seq for event in await store.read(2, limit=2)] == [3, 4]
    assert await store.read(4) == []
    with pytest.raises(UsageError, match="limit"):
        await store.read(limit=0)


async def test_an_append_is_refused_when_its_deployment_moved_on(store: Store) -> None:
    await store.append([message("1", "d1"), message("2", "d2")], expect=None)
    await store.append([message("3", "d1")], expect=1)  # the event of d2 is no business of d1
    with pytest.raises(ConflictError, match="deployment 'd1' moved on: its last event is 3, the caller had seen 1"):
        await store.append([message("4", "d1")], expect=1)
    assert [event.seq for event in await store.append([message("4", "d3")], expect=0)] == [4]  # no number was lost
    with pytest.raises(ConflictError, match="key 'web' moved on"):
        await store.append([message("5", "")], expect=3)
    await store.append([message("5", "")], expect=4)
    with pytest.raises(ConflictError, match="the log moved on"):
        await store.append([message("6", "", "")], expect=4)
    with pytest.raises(UsageError, match="of one deployment"):
        await store.append([message("6", "d1"), message("7", "d2")], expect=5)


async def test_of_two_who_decide_on_the_same_state_one_is_refused(open_another: OpenAnother) -> None:
    one, other = await open_another(), await open_another()
    for round_number in range(10):
        results = await asyncio.gather(
            *(store.append([message()], expect=round_number) for store in (one, other)), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["ConflictError", "list"]
    assert [event.seq for event in await one.read()] == list(range(1, 11))


async def test_a_refused_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(ConflictError):
        await store.append([message("1"), created(7)])
    with pytest.raises(UsageError, match="an id and a key"):
        await store.append([message("1"), created(1, deployment="")])
    assert await store.read() == []
    assert (await store.append([message("1")]))[0].seq == 1


async def test_appends_at_once_stand_alone(store: Store) -> None:
    """Appends that share a commit: the refusal of one takes nothing from the others."""
    calls = [store.append([message(str(n))], expect=99 if n % 3 == 0 else None) for n in range(60)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [n for n, result in enumerate(results) if isinstance(result, ConflictError)]
    assert refused == [n for n in range(60) if n % 3 == 0]
    events = await store.read()
    assert [event.seq for event in events] == list(range(1, 41))
    acknowledged = [result[0] for result in results if isinstance(result, list)]
    assert sorted(acknowledged, key=lambda event: event.seq) == events


async def test_what_no_log_can_keep_is_refused_before_it_is_tried(store: Store) -> None:
    for bad, sentence in (
        (message("x", deployment="a\0b"), "NUL"),
        (message("x", key="\ud800"), "can't be stored"),
        (message("x", key="é" * 501), "a name of 1002 bytes"),
        (created(1, idempotency_key="k" * 1001), "a name of 1001 bytes"),
        (Event("message", 1, data={"text": float("nan")}), "can't be stored"),
        (Event("message", 1, data={"text": b"bytes"}), "can't be stored"),
        (message("x" * (1 << 20)), "1048576"),
        (message().numbered(4), "appended before"),
    ):
        with pytest.raises(UsageError, match=sentence):
            await store.append([bad])
    assert await store.read() == []


async def test_a_large_batch_is_one_transaction(store: Store) -> None:
    stored = await store.append([message(str(n)) for n in range(1234)])
    assert [event.seq for event in stored] == list(range(1, 1235))
    assert [event.data["text"] for event in await store.read(1200)] == [str(n) for n in range(1200, 1234)]


async def test_revisions_are_numbered_by_key_without_gaps(store: Store) -> None:
    assert await store.next_revision("web") == 1
    await store.create_deployment(created(1, "d1"))
    await store.create_deployment(created(1, "d2", "db"))
    assert await store.next_revision("web") == 2
    for wrong in (1, 3, "2", True):
        with pytest.raises(ConflictError, match="next revision of 'web' is 2"):
            await store.create_deployment(created(wrong, "d3"))
    with pytest.raises(ConflictError, match="'d1' exists already: revision 1 of 'web'"):
        await store.create_deployment(created(2, "d1"))
    with pytest.raises(UsageError):
        await store.create_deployment(message())


async def test_two_who_create_the_same_revision_at_once_get_one(open_another: OpenAnother) -> None:
    stores = [await open_another(), await open_another()]
    results = await asyncio.gather(
        *(store.create_deployment(created(1, f"d{n}")) for n, store in enumerate(stores)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "Event"]
    assert len(await stores[0].list_deployments(key="web")) == 1


async def test_an_idempotency_key_answers_with_the_first_deployment(store: Store) -> None:
    first = await store.create_deployment(created(1, "d1", idempotency_key="k", request_digest="abc"))
    again = await store.create_deployment(created(2, "d2", idempotency_key="k", request_digest="abc"))
    assert again == first
    with pytest.raises(ConflictError, match="idempotency key 'k' was used for another request: 'd1'"):
        await store.create_deployment(created(2, "d2", idempotency_key="k", request_digest="other"))
    elsewhere = created(1, "d3", "db", idempotency_key="k", request_digest="other")
    assert (await store.create_deployment(elsewhere)).deployment == "d3"
    assert [event.deployment for event in await store.read(kinds=["deployment_created"])] == ["d1", "d3"]


async def test_an_idempotent_request_sent_twice_at_once_makes_one_deployment(open_another: OpenAnother) -> None:
    stores = [await open_another(), await open_another()]
    results = await asyncio.gather(
        *(s.create_deployment(created(1, f"d{n}", idempotency_key="k")) for n, s in enumerate(stores))
    )
    assert results[0] == results[1]
    assert len(await stores[0].read()) == 1


async def test_the_log_outlives_the_store(store: Store, open_another: OpenAnother) -> None:
    stored = await store.append([message("kept")])
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="is closed"):
        await store.append([message()])
    assert await (await open_another()).read() == stored


async def test_a_url_of_something_else_is_refused(tmp_path: Any) -> None:
    for url, sentence in (("mysql://user:secret@db/x", "not 'mysql'"), ("secret", "must start with postgresql://")):
        with pytest.raises(UsageError, match=sentence) as caught:
            await open_store(url, tmp_path)
        assert "secret" not in caught.value.message
