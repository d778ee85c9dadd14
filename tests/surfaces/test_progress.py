"""The live view of a deployment: whoever waits for silent hosts sees that, and how many have answered."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from sane.core.events import Event
from sane.core.rollout.controller import HostSpec, RolloutState, apply
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create
from sane.surfaces.progress import LiveView, open_view, show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def begun(*hosts: str, parts: Sequence[str] = ("preflight", "stage", "switch")) -> tuple[Event, RolloutState]:
    specs = [HostSpec(name, "", "1.0", "d") for name in hosts]
    event = create("app-1-a", "app", 1, "1.0", specs, RolloutPolicy(), 0, parts=parts)
    return event, apply(None, event)


def test_while_hosts_are_asked_it_counts_those_that_answered() -> None:
    terminal = Terminal()
    view = open_view_of(terminal)
    event, state = begun("web1", "web2", "web3")
    view.update(event, state)
    action = "app-1-a/web2/preflight/1"
    for kind, data in (
        ("action_started", {"operation": action, "action": "preflight"}),
        ("action_finished", {"operation": action, "action": "preflight", "outcome": "ok"}),
    ):
        event = Event(kind, 1, key="app", deployment="app-1-a", host="web2", data=data)
        state = apply(state, event)
        view.update(event, state)
    view.close()
    shown = terminal.getvalue()
    assert "asking the hosts: 1 of 3 done, 0 s" in shown
    assert shown.endswith(("\x1b[2K", "\x1b[?25h")), "the view takes itself away"


def test_what_went_wrong_is_seen_while_more_hosts_are_at_work_than_there_is_room_for() -> None:
    view = open_view_of(Terminal())
    names = [f"web{number}" for number in range(60)]
    event, state = begun(*names, parts=("stage",))
    statuses = ["failed" if number % 3 == 2 else "activating" for number in range(60)]
    hosts = tuple(replace(h, status=s, error=s) for h, s in zip(state.hosts, statuses, strict=True))
    view.update(event, replace(state, hosts=hosts))
    console = Console(file=io.StringIO(), width=80, height=24)
    console.print(view.draw())
    view.close()
    rows = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    assert sum("✗" in row for row in rows) >= 5
    assert sum("switch" in row for row in rows) >= 5
    assert rows[-1].strip().startswith("… and ")


def test_a_host_whose_health_is_awaited_says_why_in_one_row_that_steers_no_terminal() -> None:
    terminal = Terminal()
    view = open_view_of(terminal)
    event, state = begun("web1", parts=("stage", "switch", "probe"))
    reason = f'status is "starting\x1b[2J\x9b", {"very " * 40}slow'
    for kind, data in (
        ("deployment_transition", {"from": "pending", "to": "running", "reason": ""}),
        ("action_started", {"operation": "app-1-a/web1/stage/1", "action": "stage"}),
        ("step_started", {"step": "fetch", "part": "stage", "verb": "run-command"}),
        ("action_finished", {"operation": "app-1-a/web1/stage/1", "action": "stage", "outcome": "ok"}),
        ("action_started", {"operation": "app-1-a/web1/switch/1", "action": "switch"}),
        ("action_finished", {"operation": "app-1-a/web1/switch/1", "action": "switch", "outcome": "ok"}),
        ("action_started", {"operation": "app-1-a/web1/probe/1", "action": "probe"}),
        ("health_observed", {"operation": "app-1-a/web1/probe/1", "verdict": "wait", "reason": reason}),
    ):
        event = Event(kind, 1, key="app", deployment="app-1-a", data=data)
        event = replace(event, host="" if kind == "deployment_transition" else "web1")
        state = apply(state, event)
        view.update(event, state)
    drawn = "".join(segment.text for segment in Console(width=80).render(view.draw()))
    view.close()
    assert [line.split()[1:6] for line in drawn.splitlines()[1:]] == [["web1", "health", "0", "s", "status"]]
    assert "fetch" not in drawn, "a step of an earlier part"
    assert "\x9b" not in drawn
    assert "\x1b[2J" not in drawn


def open_view_of(terminal: Terminal) -> LiveView:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        view = open_view(terminal)
    assert isinstance(view, LiveView)
    return view


def change(source: str, target: str, reason: str) -> Event:
    data = {"from": source, "to": target, "reason": reason}
    return Event("deployment_transition", 1, key="app", deployment="app-1-a", data=data)


def ask(request: str) -> Event:
    return Event("operator_request", 1, key="app", deployment="app-1-a", data={"request": request, "reason": "lunch"})


async def shown_from(behind: int, *events: Event) -> str:
    """Return the lines of who comes when `behind` of these events are in the log."""

    async def follow() -> AsyncIterator[Event]:
        for number, event in enumerate(events, 1):
            yield event.numbered(number)

    stream = io.StringIO()
    await show_progress(follow(), open_view(stream), behind=behind)
    return stream.getvalue()


async def test_who_goes_on_with_a_paused_deployment_is_told_at_once_that_it_waits_and_for_what() -> None:
    created, _ = begun("web1", parts=("stage",))
    paused = (created, change("pending", "running", ""), ask("pause"), change("running", "paused", "lunch"))
    lines = "app paused: lunch\n→ sane deployment resume app (or fail, cancel)\n"
    assert (await shown_from(4, *paused)).partition("\n")[2] == lines
    assert (await shown_from(1, *paused)).endswith(lines), "what who was there from the start has read"


async def test_who_carries_out_what_was_asked_for_is_not_told_to_ask_for_it() -> None:
    created, _ = begun("web1", parts=("stage",))
    paused = (created, change("pending", "running", ""), ask("pause"), change("running", "paused", "lunch"))
    for word in ("resume", "cancel"):
        assert "→" not in await shown_from(5, *paused, ask(word))


@pytest.mark.parametrize("drives", [True, False])
def test_who_waits_for_a_person_is_told_what_to_do_and_what_ctrl_c_does(drives: bool) -> None:
    view = LiveView(Terminal(), drives=drives)
    event, state = begun("web1")
    view.update(event, replace(state, status="awaiting_promotion"))
    console = Console(file=io.StringIO(), width=120)
    console.print(view.draw())
    view.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "→ sane deployment promote app (or fail, cancel) in another terminal" in shown
    assert ("Ctrl-C cancels the deployment" in shown) is drives
