"""The leases on hosts, by the real shell text, each host a directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sane.core.command import Command, CommandResult
from sane.engine import host_leases
from sane.engine.host_leases import HostLeases
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
