"""A directory of the host's own, for all that a host keeps, by the real shell text."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from sane.core.command import Command
from sane.core.host.dead_man import Guard, arm, confirm, parse_guard
from sane.core.host.detached import Operation, attach, inspect, launch, launch_in_pane, parse_inspection, stop
from sane.core.host.lease import fence, parse_host_lease, take_and_look
from sane.core.host.record import HostRecord, look, mark_proven, parse_all, parse_look, read_all, write_record
from sane.core.host.truth import parse_truth, read_truth

RECORD = HostRecord("1.0", "d1", 1, "app-1", 7)


def test_all_that_a_host_keeps_is_below_a_directory_that_is_written_from_its_home(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()

    def run(command: Command, code: int = 0) -> bytes:
        env = {"PATH": os.environ["PATH"], "HOME": str(home), **command.env, "SANE_HOST_DIR": "~/kept/a b"}
        words = ["sh", "-c", command.script]
        ended = subprocess.run(
            words, env=env, input=command.stdin or b"", cwd=elsewhere, capture_output=True, timeout=10
        )
        assert ended.returncode == code, ended.stderr
        return ended.stdout

    lease = parse_host_lease(run(take_and_look("app", "me", 60)), "me")
    assert lease is not None
    assert (lease.taken, lease.token) == (True, 1)
    run(write_record("app", RECORD))
    run(mark_proven("app", "app-1"))
    assert parse_look(run(look("app"))).record == parse_all(run(read_all()))[0].current
    run(fence(look("app"), "app", 0), 96)
    step = Operation("app-1.web1.stage.1", "echo done", lease="app", token=1)
    assert run(launch(step, env={}, cwd=None, timeout_s=5)) == b"done\n"
    run(launch_in_pane(Operation("app-1.web1.stage.2", "true"), env={}, cwd=None, timeout_s=5))
    assert parse_inspection(run(inspect(step.id)))[0] == "finished"
    assert run(attach(step.id, timeout_s=5)) == b"done\n"
    run(stop(step.id))
    assert run(arm(Guard("app-1.web1.switch.1", "app", 60, "true\n", RECORD))) == b"armed\n"
    assert parse_guard(run(confirm("app", "app-1"))) == "confirmed"
    truth = parse_truth(run(read_truth()))
    assert ([k.key for k in truth.keys], len(truth.leases), len(truth.guards)) == (["app"], 1, 1)
    assert (os.listdir(home), os.listdir(home / "kept"), os.listdir(elsewhere)) == (["kept"], ["a b"], [])
