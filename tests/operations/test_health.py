"""The answer about one host's health."""

from __future__ import annotations

import asyncio
import socket

from sane.core.fleet.inventory import Host, Inventory
from sane.core.health import HealthVerdict
from sane.operations.health import HostHealth, asked, check_health, question_for


def test_a_host_has_the_name_that_it_has_in_the_report_of_a_deployment() -> None:
    answer = HostHealth("web1", HealthVerdict("pass", "healthy", "1.0")).as_json()
    assert (answer["name"], answer["host"], answer["verdict"]) == ("web1", "web1", "pass")


async def test_a_host_that_refuses_the_connection_is_unreachable_with_the_phase_and_why() -> None:
    with socket.socket() as taken:  # bound and not listening: a connection to it is refused
        taken.bind(("127.0.0.1", 0))
        host = Host("web1", address="127.0.0.1", port=taken.getsockname()[1])
        async with asyncio.timeout(20):
            (answer,) = await check_health(Inventory((host,), {}), [host], question_for(None, None))
    assert (answer.host, answer.verdict.verdict, answer.phase) == ("web1", "unreachable", "connect")
    assert "refused" in answer.error


async def test_a_host_that_does_not_answer_in_time_is_unreachable() -> None:
    async def judged() -> HealthVerdict:
        raise TimeoutError

    answer = await asked("web1", judged())
    assert (answer.verdict.verdict, answer.error, answer.phase) == ("unreachable", "no answer in time", "command")
