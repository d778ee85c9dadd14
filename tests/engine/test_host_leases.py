"""The leases on hosts, by the real shell text, each host a directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sane.core.command import Command, CommandResult
from sane.core.events import Event
from sane.core.rollout.controller import RolloutState, fold
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create
from sane.core.rollout.state import HostSpec
from sane.engine import host_leases
from sane.engine.host_leases import HostLeases, may_be_held
from sane.errors import ConflictError, UnreachableError
from sane.transports.local import LocalTransport

HOSTS = ("web1", "web2", "web3", "web4")


def on_hosts(root: Path, dead: frozenset[str] = frozenset()) -> Callable[[str, Command], object]:
    transport = LocalTransport()

    async def run(host: str, command: Command) -> CommandResult:
        if host in dead:
            raise UnreachableError(f"{host} is dead")
        env = {**command.env, "SANE_HOST_DIR": str(root / host)}
        return await transport.run(Command(command.script, env=env, timeout_s=command.timeout_s))

    return run


async def take_all(leases: HostLeases, changing: tuple[str, ...]) -> dict[str, str]:
    async def one(host: str) -> str:
        async with leases.looking(host):
            if host in changing:
                leases.mark(host)
        if host not in changing:
            return "unchanged"
        try:
            await leases.take_in_order(host)
        except (ConflictError, UnreachableError) as error:
            return error.message
        return "taken"

    return dict(zip(HOSTS, await asyncio.gather(*(one(host) for host in HOSTS)), strict=True))


def controller(root: Path, owner: str, rank: int = 1, dead: frozenset[str] = frozenset()) -> HostLeases:
    return HostLeases("app", owner, lambda: rank, on_hosts(root, dead))  # type: ignore[arg-type]


async def test_of_two_that_share_only_the_hosts_one_takes_all_and_the_other_none(tmp_path: Path) -> None:
    controllers = [controller(tmp_path, name) for name in ("a:one", "b:two")]
    first, second = await asyncio.gather(*(take_all(leases, HOSTS) for leases in controllers))
    winner, loser, name = (first, second, "a:one") if first["web1"] == "taken" else (second, first, "b:two")
    assert winner == dict.fromkeys(HOSTS, "taken")
    assert all(name in said for said in loser.values())


async def test_nothing_is_written_on_a_host_that_is_not_to_change(tmp_path: Path) -> None:
    found = await take_all(controller(tmp_path, "a:one"), ("web2", "web4"))
    assert found == {"web1": "unchanged", "web2": "taken", "web3": "unchanged", "web4": "taken"}
    assert sorted(os.listdir(tmp_path)) == ["web2", "web4"]


async def test_a_dead_first_host_keeps_no_other_waiting(tmp_path: Path) -> None:
    found = await asyncio.wait_for(take_all(controller(tmp_path, "a:one", dead=frozenset({"web1"})), HOSTS), 10)
    assert found == {"web1": "web1 is dead", "web2": "taken", "web3": "taken", "web4": "taken"}


async def test_a_new_rank_of_the_same_store_takes_over_and_the_old_one_is_refused(tmp_path: Path) -> None:
    old, new = controller(tmp_path, "a:old", 3), controller(tmp_path, "a:new", 4)
    await old.take("web1")
    await new.take("web1")
    assert new.token("web1") == old.token("web1") + 1
    with pytest.raises(ConflictError, match="a:new"):
        await old.take("web1")
    await old.release()  # it gives nothing away that is another's
    async with new.held("web1"):
        assert (tmp_path / "web1/leases/app/holder").read_text().split()[1] == "a:new"


def expiries(root: Path) -> dict[str, str]:
    return {path.parts[-4]: path.read_text().split()[2] for path in root.glob("*/leases/app/holder")}


async def test_what_an_earlier_controller_left_is_given_up_with_what_is_held(tmp_path: Path) -> None:
    """A dead host costs the others nothing."""
    await take_all(controller(tmp_path, "a:dead"), HOSTS[:3])
    new = controller(tmp_path, "a:new", 2, dead=frozenset({"web2"}))
    await new.take("web1")
    await asyncio.wait_for(new.release(HOSTS), 10)
    ends = expiries(tmp_path)
    assert (ends.pop("web2") != "0", ends) == (True, {"web1": "0", "web3": "0"})


async def test_a_controller_that_was_never_in_charge_gives_nothing_up(tmp_path: Path) -> None:
    def no_rank() -> int:
        raise ConflictError("the lease on app is not held")

    await take_all(controller(tmp_path, "a:one"), HOSTS)
    await HostLeases("app", "a:two", no_rank, on_hosts(tmp_path)).release(HOSTS)  # type: ignore[arg-type]
    assert "0" not in expiries(tmp_path).values()


def state_after(*events: tuple[str, str, dict[str, object]]) -> RolloutState:
    """Return the state of a deployment to all hosts in which these happened, each as (kind, host, data)."""
    created = create("app-1", "app", 1, "2", [HostSpec(name) for name in HOSTS], RolloutPolicy(), 0)
    return fold([created, *(Event(kind, 1, "app", "app-1", host, data) for kind, host, data in events)])


def test_an_earlier_controller_may_hold_a_lease_where_it_looked_and_found_something_to_change() -> None:
    def looked(host: str, outcome: str) -> list[tuple[str, str, dict[str, object]]]:
        action: dict[str, object] = {"operation": f"app-1/{host}/preflight/1", "action": "preflight"}
        return [("action_started", host, action), ("action_finished", host, {**action, "outcome": outcome})]

    state = state_after(*looked("web1", "ok"), *looked("web2", "unchanged"), *looked("web3", "unreachable"))
    assert may_be_held(state) == ["web1"]  # web4 was never asked


async def test_a_lease_is_renewed_before_it_ends_and_given_up_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_leases, "HOST_LEASE_S", 0.3)
    asked = 0
    inner = on_hosts(tmp_path)

    async def counting(host: str, command: Command) -> CommandResult:
        nonlocal asked
        asked += 1
        if asked >= 3:
            renewed.set()
        env = {**command.env, "SANE_TTL": "1"}
        return await inner(host, Command(command.script, env=env, timeout_s=5.0))  # type: ignore[misc]

    renewed = asyncio.Event()
    leases = HostLeases("app", "a:one", lambda: 1, counting)
    async with leases.held("web1"):
        await asyncio.wait_for(renewed.wait(), 5)
    assert leases.token("web1") == 1
    await leases.release()
    assert (tmp_path / "web1/leases/app/holder").read_text().split()[2] == "0"
