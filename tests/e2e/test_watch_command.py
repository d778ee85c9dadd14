"""`sane watch` and `sane agent` as people and scripts run them: real sshd hosts, real processes, SIGKILL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import TestLab, lab  # noqa: F401
from tests.engine import model_servers as fake

pytestmark = pytest.mark.e2e
SANE = [str(Path(__file__).parents[2] / "bin" / "sane")]
QUICK = "interval: 100ms\nmax_age: none\nsettle: 50ms\nbackoff: 100ms\n"
APP = (
    "name: app\nhealth: {path: health.json}\npolicy: {min_healthy: 0s}\n"
    "switch:\n  - run-command:\n"
    '      command: \'printf "{\\"status\\": \\"healthy\\", \\"version\\": \\"%s\\"}" {{ version }} > health.json\'\n'
)
HEALTHY = {"status": "healthy", "version": "1.0", "queue": 3}


class Hosts:
    """Hold a lab whose hosts are healthy until a test says otherwise, and run `sane` against it."""

    def __init__(self, started: TestLab, directory: Path) -> None:
        self.lab, self.directory = started, directory
        self.running: list[subprocess.Popen[str]] = []
        for host in started.hosts:
            self.say(host, HEALTHY)

    def say(self, host: str, document: Any) -> None:
        path = self.lab.root(host) / "health.json"
        path.with_suffix(".new").write_text(json.dumps(document))
        path.with_suffix(".new").replace(path)

    def config(self, text: str) -> str:
        path = self.directory / "watch.yaml"
        path.write_text(QUICK + text)
        return str(path)

    def sane(self, *arguments: str, timeout_s: float = 25, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SANE, *arguments], capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **environ}
        )

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*SANE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ},
        )
        self.running.append(process)
        return process

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        lines = self.sane("events", "--output", "ndjson").stdout.splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] in kinds]

    def wait_for(self, kind: str, timeout_s: float = 15) -> dict[str, Any]:
        """Wait until an event of a kind is in the log."""
        from sane.core.paths import state_dir
        from sane.store import open_store

        async def wait() -> dict[str, Any]:
            store = await open_store(None, state_dir(os.environ))
            try:
                async with asyncio.timeout(timeout_s):
                    return (await anext(store.follow(0, kinds=(kind,)))).as_json()
            finally:
                await store.close()

        return asyncio.run(wait())


@pytest.fixture
def hosts(lab: Callable[..., TestLab], tmp_path: Path) -> Iterator[Hosts]:  # noqa: F811
    found = Hosts(lab(3), tmp_path)
    yield found
    for process in found.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_once_until_and_the_document_for_scripts(hosts: Hosts) -> None:
    base = ["watch", "-i", str(hosts.lab.inventory), "--config", hosts.config("")]
    well = hosts.sane(*base, "--once", "--output", "json")
    document = json.loads(well.stdout)
    assert well.returncode == 0, well.stderr
    assert (document["healthy"], document["total"], document["versions"]) == (3, 3, {"1.0": 3})
    assert document["hosts"][0]["fields"] == {"queue": 3.0}
    hosts.lab.fault("server2", "refuse")
    some = hosts.sane(*base, "--once")
    assert some.returncode == 3
    assert "✗ [server2] does not answer" in some.stdout
    assert "\x1b" not in some.stdout
    again = hosts.sane(*base, "--once").stdout
    assert again.splitlines()[-1] == "2 of 3 hosts are healthy, not server2", "although nothing changed"
    true = hosts.sane(*base, "--until", "length(hosts[?version=='1.0']) == `2`", "--for", "10s")
    assert true.returncode == 0, true.stderr
    late = hosts.sane(*base, "--until", "healthy == total", "--for", "500ms")
    assert late.returncode == 124
    wrong = hosts.sane(*base, "--until", "healthy ==")
    assert (wrong.returncode, "not JMESPath" in wrong.stderr) == (2, True)


def test_a_dead_and_a_silent_host_delay_no_other(hosts: Hosts) -> None:
    hosts.lab.fault("server1", "silent")
    hosts.lab.fault("server2", "refuse")
    began = time.monotonic()
    found = hosts.start("watch", "-i", str(hosts.lab.inventory), "--config", hosts.config(""), "--output", "ndjson")
    assert found.stdout is not None
    sampled: set[str] = set()
    while sampled != {"server2", "server3"}:  # episodes are told in between
        event = json.loads(found.stdout.readline())
        sampled |= {event["host"]} if event["kind"] == "host_sampled" else set()
    assert time.monotonic() - began < 5
    hosts.say("server3", {"status": "failed", "version": "1.0"})
    while (event := json.loads(found.stdout.readline()))["host"] != "server3" or event["kind"] != "host_sampled":
        pass
    assert event["data"]["verdict"] == "fail"
    assert time.monotonic() - began < 8, "server1 still waits for its banner"
    found.send_signal(signal.SIGINT)
    assert found.wait(10) == 130


def test_it_ends_at_its_time_though_a_host_and_a_webhook_say_nothing(hosts: Hosts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        config = hosts.config(f"alerts: {{webhook: {{url: '{url}', secret_env: HOOK}}}}\nplanner: {{tier: read}}\n")
        hosts.say("server1", {"status": "failed"})
        base = ("watch", "-i", str(hosts.lab.inventory), "--config", config, "--for", "3s")
        began = time.monotonic()
        watching = hosts.start(*base, HOOK="s3cret")
        hosts.wait_for("host_sampled")
        hosts.lab.fault("server2", "stop")
        connection, _ = silent.accept()
        try:
            assert watching.wait(20) == 0, watching.communicate()
            assert time.monotonic() - began < 8, "a stopped host confirms nothing, and a webhook is waited for 10 s"
        finally:
            connection.close()
            hosts.lab.fault("server2", "heal")


def test_killed_in_the_middle_of_an_escalation_nothing_is_lost_and_nothing_done_twice(hosts: Hosts) -> None:
    alert = {"steps": [{"verb": "alert", "arguments": {"message": "look"}}], "reason": "unsure", "confidence": 0.9}
    out = hosts.directory / "alerts"
    hook = f"alerts: {{command: [sh, -c, 'cat >> {out}']}}\n"
    with fake.ModelServer(fake.hang(), fake.output(alert)) as server:
        model = f"models: {{big: {{provider: openai, model: m, base_url: '{server.openai_url}', key_env: KEY}}}}\n"
        config = hosts.config(hook + "planner: {model: big}\n" + model)
        base = ["watch", "-i", str(hosts.lab.inventory), "--config", config]
        first = hosts.start(*base, KEY="sk-secretsecretsecret1")
        hosts.wait_for("host_sampled")
        hosts.say("server1", {"status": "failed"})
        server.wait_for_requests(1, 15)
        first.kill()
        first.wait(10)
        assert hosts.events("escalation_finished") == []
        second = hosts.start(*base, KEY="sk-secretsecretsecret1")
        hosts.wait_for("plan_finished")
        second.terminate()
        second.wait(10)
        assert len(server.requests) == 2
    kinds = [event["kind"] for event in hosts.events("episode_opened", "escalation_started", "escalation_resumed", "plan_started", "plan_finished")]  # fmt: skip
    assert kinds == ["episode_opened", "escalation_started", "escalation_resumed", "plan_started", "plan_finished"]
    (sent,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (sent["fault"], sent["hosts"], sent["reason"]) == ("crash", "server1", "look")
    database = Path(os.environ["SANE_STATE_DIR"], "sane.db").read_bytes()
    assert b"sk-secretsecretsecret1" not in database


def test_a_plan_waits_and_a_person_decides_from_the_command_line(hosts: Hosts) -> None:
    step = {"verb": "run-command", "hosts": ["server1"], "arguments": {"command": "echo fixed > fixed"}}
    plan = {"steps": [step], "reason": "try it", "confidence": 0.9}
    with fake.ModelServer(fake.output(plan)) as server:
        model = f"models: {{big: {{provider: openai, model: m, base_url: '{server.openai_url}'}}}}\n"
        config = hosts.config("planner: {model: big}\n" + model)
        hosts.say("server1", {"status": "failed"})
        hosts.start("watch", "-i", str(hosts.lab.inventory), "--config", config)
        name = hosts.wait_for("plan_decided")["data"]["plan"]
        waiting = json.loads(hosts.sane("plan", "list", "--waiting", "--output", "json").stdout)
        assert [(row["plan"], row["status"]) for row in waiting] == [(name, "waiting")]
        assert json.loads(hosts.sane("plan", "list", "--query", "[].status").stdout) == ["waiting"]
        assert json.loads(hosts.sane("plan", "show", name, "--query", "status").stdout) == "waiting"
        assert "run-command on server1" in hosts.sane("plan", "show", name).stdout
        assert not (hosts.lab.root("server1") / "fixed").exists()
        approved = hosts.sane("plan", "approve", name, "--query", "status")
        assert (approved.returncode, json.loads(approved.stdout)) == (0, "approved")
        assert hosts.wait_for("plan_finished")["data"]["outcome"] == "done"
    assert (hosts.lab.root("server1") / "fixed").read_text() == "fixed\n"
    again = hosts.sane("plan", "approve", name)
    assert (again.returncode, "does not wait" in again.stderr) == (7, True)
    unknown = hosts.sane("agent", "plans", "show", name[:-1])
    assert (unknown.returncode, name in unknown.stderr) == (2, True)


def test_the_rules_deploy_again_without_a_model(hosts: Hosts) -> None:
    workflow = hosts.directory / "app.yaml"
    workflow.write_text(APP)
    done = hosts.sane("deploy", str(workflow), "-i", str(hosts.lab.inventory), "--version", "2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    hosts.say("server2", {"status": "failed", "version": "2.0"})
    until = "healthy == total && episodes == `0`"
    config = hosts.config("patience: 20s\n")
    watching = hosts.start("watch", "--key", "app", "--config", config, "--until", "total == `99`", "--for", "25s")
    finished = hosts.wait_for("plan_finished", 20)
    assert (finished["data"]["outcome"], finished["data"]["summary"]) == ("done", "retry"), finished
    healed = json.loads((hosts.lab.root("server2") / "health.json").read_text())
    assert healed == {"status": "healthy", "version": "2.0"}
    watching.terminate()
    assert watching.wait(10) == 130
    assert (
        hosts.sane(
            "watch", "--key", "app", "--config", config, "--until", until.split(" && ")[0], "--for", "10s"
        ).returncode
        == 0
    )


def test_a_retry_that_went_well_and_did_not_heal_is_followed_by_a_rollback_and_no_person(hosts: Hosts) -> None:
    workflow = hosts.directory / "app.yaml"
    workflow.write_text(APP)
    for version in ("1.0", "2.0"):
        done = hosts.sane("deploy", str(workflow), "-i", str(hosts.lab.inventory), "--version", version)
        assert done.returncode == 0, done.stdout + done.stderr
    (hosts.lab.root("server2") / "broken").touch()  # with 2.0 it says that it is healthy, and is not
    config = hosts.config(
        "patience: 2s\nplanner: {tier: rollback}\nprobe: test ! -e broken || ! grep -q 2.0 health.json\n"
    )
    until = "length(hosts[?version=='1.0']) == total"
    watched = hosts.sane("watch", "--key", "app", "--config", config, "--until", until, "--for", "40s", timeout_s=55)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    proposed = [event["data"]["steps"][0]["verb"] for event in hosts.events("plan_proposed")]
    assert proposed == ["retry", "rollback"]
    retried = hosts.events("plan_finished")[0]["data"]
    assert (retried["summary"], retried["outcome"]) == ("retry", "done")
    assert hosts.events("alert_raised") == []


def test_an_agent_answers_in_pieces_and_offline(hosts: Hosts) -> None:
    agents = hosts.directory / "agents"
    agents.mkdir()
    (agents / "doctor.yaml").write_text("instructions: You explain.\nmodel: big\ntools: [read-file]\n")
    with fake.ModelServer(
        fake.call("read_file", target="server1", path="health.json"), fake.text("it is fine")
    ) as server:
        config = hosts.config(f"models: {{big: {{provider: openai, model: m, base_url: '{server.openai_url}'}}}}\n")
        base = ["agent", "ask", "--agents", str(agents), "--agent", "doctor", "--config", config]
        answer = hosts.sane(*base, "-i", str(hosts.lab.inventory), "--output", "ndjson", "why?")
        told = server.requests[1].prompt
    events = [json.loads(line) for line in answer.stdout.splitlines()]
    assert events[0]["type"] == "start", answer.stderr
    assert "".join(event["content"] for event in events if event["type"] == "content") == "it is fine"
    assert (events[-1]["type"], events[-1]["model"]) == ("done", "big")
    assert set(events[-1]["usage"]) == {"input_tokens", "output_tokens"}
    calls = hosts.events("model_called")
    assert {(call["data"]["agent"], call["data"]["model"]) for call in calls} == {("doctor", "big")}
    assert sum(call["data"]["input_tokens"] for call in calls) == events[-1]["usage"]["input_tokens"]
    assert "queue" in told
    offline = hosts.sane("agent", "ask", "what is deployed?")
    assert (offline.returncode, offline.stdout) == (0, "Nothing was deployed yet. `sane deploy --help` shows how.\n")
    listed = hosts.sane("agents", "list", "--agents", str(agents), "--query", "[].name")
    assert json.loads(listed.stdout) == ["fleet", "doctor"]


def test_mistakes_in_files_are_named_with_their_line(hosts: Hosts) -> None:
    agents = hosts.directory / "agents"
    agents.mkdir()
    (agents / "bad.yaml").write_text("instructions: Hi.\ntier: rea\ntools: [read-fil]\n")
    wrong = hosts.sane("agent", "list", "--agents", str(agents))
    assert wrong.returncode == 2
    assert "bad.yaml:2: tier must be one of" in wrong.stderr
    assert "bad.yaml:3: there is no verb 'read-fil'" in wrong.stderr
    config = hosts.directory / "w.yaml"
    config.write_text("interval: 5s\nplaner: {model: x}\n")
    base = ["watch", "-i", str(hosts.lab.inventory), "--config", str(config), "--once"]
    assert "w.yaml:2: unknown key 'planer'" in hosts.sane(*base).stderr
    config.write_text("models:\n  big: {provider: openai, model: m, key_env: sk-live-abcdefghijkl}\n")
    shown = hosts.sane(*base)
    assert "w.yaml:2: key_env must be the name of an environment variable" in shown.stderr
    assert "sk-live" not in shown.stderr
