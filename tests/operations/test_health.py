"""The answer about one host's health."""

from __future__ import annotations

from sane.core.health import HealthVerdict
from sane.operations.health import HostHealth


def test_a_host_has_the_name_that_it_has_in_the_report_of_a_deployment() -> None:
    answer = HostHealth("web1", HealthVerdict("pass", "healthy", "1.0")).as_json()
    assert (answer["name"], answer["host"], answer["verdict"]) == ("web1", "web1", "pass")
