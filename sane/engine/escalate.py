"""The escalation loop: fold the log, decide, write the intent down, do it, write down what came of it.

The pure part is sane.core.watch.escalation; this is its I/O. Whatever kills the process, each intent is in the log:
the next one takes a planner's call up again as the same attempt, runs no plan twice, and sends an alert again under its
name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from sane.core.events import Event
from sane.core.watch.episodes import Finding
from sane.core.watch.escalation import apply_escalation, open_episode
from sane.core.watch.escalation_actions import (
    Action,
    Alert,
    Classify,
    DecidePlan,
    Escalate,
    RunPlan,
    next_wake_ms,
    reconcile_escalation,
)
from sane.core.watch.escalation_state import Episode, EscalationPolicy, EscalationState
from sane.core.watch.plan import Decision, Plan, plan_from_json
from sane.engine.alerts import Delivery
from sane.engine.models import ModelCall
from sane.engine.planner import Proposal, verbs_of_plan
from sane.errors import ConflictError, SaneError
from sane.store.base import Lease, Store

READ_PAGE = 1000
DETAIL_CHARS = 500
OnCall = Callable[[ModelCall], None]


class Desk(Protocol):
    """Do what the controller decides."""

    async def classify(self, episode: Episode, on_call: OnCall) -> tuple[str, float]:
        """Return `incident` or `noise` and a confidence."""
        ...

    async def propose(self, episode: Episode, on_call: OnCall) -> Proposal:
        """Return a plan. Raises SaneError where there is none."""
        ...

    def decide(self, plan: Plan) -> Decision:
        """Return what becomes of a plan."""
        ...

    async def run(self, episode: Episode, plan: Plan) -> tuple[str, str]:
        """Carry a plan out and return `done` or `failed`, and what happened in one line."""
        ...

    async def alert(self, episode: Episode, reason: str, operation: str) -> Delivery:
        """Tell a person."""
        ...


class Escalator:
    """Drive the episodes of one watch. `on_event` gets each event once it is in the log."""

    def __init__(
        self,
        store: Store,
        key: str,
        desk: Desk,
        *,
        policy: EscalationPolicy,
        zone_sizes: Mapping[str, int],
        now_ms: Callable[[], int],
        on_event: Callable[[Event], None],
        wake: asyncio.Event,
    ) -> None:
        self._store = store
        self._key = key
        self._desk = desk
        self._policy = policy
        self._zone_sizes = zone_sizes
        self._now_ms = now_ms
        self._on_event = on_event
        self._wake = wake
        self._seq = 0
        self._tasks: dict[asyncio.Task[list[Event]], str] = {}
        self._notes: list[Event] = []
        self._plans: dict[str, Mapping[str, Any]] = {}
        self.state = EscalationState()
        self.lease: Lease | None = None

    async def catch_up(self, on_sample: Callable[[Event], None] = lambda _: None) -> bool:
        """Read and fold what the log has beyond what was seen; return whether there was anything."""
        moved = False
        while events := await self._store.read(self._seq, key=self._key, limit=READ_PAGE):
            for event in events:
                if event.kind == "host_sampled":
                    on_sample(event)
            self._fold(events)
            moved = True
        return moved

    async def record(self, samples: Sequence[Event], findings: Sequence[Finding]) -> None:
        """Append changed samples and what the findings make of the episodes."""

        def make(state: EscalationState) -> Iterable[Event]:
            yield from samples
            for finding in findings:
                for event in open_episode(state, finding, zone_sizes=self._zone_sizes, policy=self._policy):
                    state = apply_escalation(state, event, self._policy)
                    yield event

        if samples or findings:
            await self._append(make)

    async def settle(self) -> int | None:
        """Record what came of what was done, start what is due; return when to look again (epoch ms)."""
        await self._collect()
        while True:
            now_ms = self._now_ms()
            begun = [await self._begin(action) for action in self._wanted(now_ms)]
            if not any(begun):
                return next_wake_ms(self.state, now_ms)

    @property
    def is_busy(self) -> bool:
        """Return whether something is under way."""
        return bool(self._tasks)

    async def finish(self, within_s: float) -> None:
        """Give what is under way so long to end, and record what came of it; begin nothing."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        await self._collect()

    async def stop(self) -> None:
        """Cancel what is under way: the log has the intents, and the next watch takes them up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._flush_notes()

    def _wanted(self, now_ms: int) -> tuple[Action, ...]:
        running = frozenset(self._tasks.values())
        return reconcile_escalation(self.state, now_ms, policy=self._policy, running=running)

    async def _begin(self, action: Action) -> bool:
        """Write an intent down and begin it; False where it is not wanted any more."""
        now_ms = self._now_ms()
        episode = self.state.episodes[action.episode]
        match action:
            case Classify():
                self._start(f"classify:{action.episode}", self._classify(episode))
            case DecidePlan(plan=plan):
                return await self._decide(episode, plan)
            case Alert(is_repeat=True):
                self._start(action.operation, self._alert(episode, action))
            case Escalate() | RunPlan() | Alert():
                if not await self._append(lambda _: [action.event(now_ms)], only_if=action):
                    return False
                episode = self.state.episodes.get(action.episode, episode)
                self._start(action.operation, self._effect(episode, action))
        return True

    def _effect(self, episode: Episode, action: Escalate | RunPlan | Alert) -> Coroutine[Any, Any, list[Event]]:
        match action:
            case Escalate():
                return self._plan(episode, action)
            case RunPlan():
                return self._run(episode, action)
            case Alert():
                return self._alert(episode, action)

    def _start(self, operation: str, effect: Coroutine[Any, Any, list[Event]]) -> None:
        task = asyncio.create_task(effect)
        self._tasks[task] = operation
        task.add_done_callback(lambda _: self._wake.set())

    async def _classify(self, episode: Episode) -> list[Event]:
        try:
            label, confidence = await self._desk.classify(episode, self._noter(episode))
        except Exception:  # whatever goes wrong here may delay nothing
            label, confidence = "incident", 0.0
        return [self._event("episode_classified", episode, label=label, confidence=confidence)]

    async def _plan(self, episode: Episode, action: Escalate) -> list[Event]:
        done = {"attempt": action.attempt, "operation": action.operation}
        try:
            found = await self._desk.propose(episode, self._noter(episode))
        except Exception as error:
            finished = self._event("escalation_finished", episode, **done, outcome="failed", error=_said(error))
            return [finished]
        plan = {**found.plan.as_json(), "plan": found.id, "by": found.by}
        return [
            self._event("plan_proposed", episode, **plan),
            self._event("escalation_finished", episode, **done, outcome="planned"),
        ]

    async def _decide(self, episode: Episode, plan: str) -> bool:
        try:
            decision = self._desk.decide(self._plan_of(plan))
        except SaneError as error:
            decision = Decision("rejected", (error.message,))
        reasons = [reason[:DETAIL_CHARS] for reason in decision.reasons]
        event = self._event("plan_decided", episode, plan=plan, decision=decision.decision, reasons=reasons)
        return bool(await self._append(lambda _: [event], only_if=DecidePlan(episode.id, plan)))

    async def _run(self, episode: Episode, action: RunPlan) -> list[Event]:
        plan = self._plan_of(action.plan)
        try:
            outcome, detail = await self._desk.run(episode, plan)
        except Exception as error:
            outcome, detail = "failed", _said(error)
        told = {"summary": verbs_of_plan(plan), "detail": detail[:DETAIL_CHARS]}
        return [self._event("plan_finished", episode, plan=action.plan, outcome=outcome, **told)]

    async def _alert(self, episode: Episode, action: Alert) -> list[Event]:
        try:
            delivery = await self._desk.alert(episode, action.reason, action.operation)
        except Exception as error:
            delivery = Delivery(_said(error))
        told: dict[str, Any] = {"outcome": delivery.outcome, "operation": action.operation}
        if delivery.is_sent and delivery.failed:
            told["failed"] = list(delivery.failed)
        return [self._event("alert_sent", episode, **told)]

    def _plan_of(self, plan: str) -> Plan:
        kept = self._plans.get(plan, {})
        return plan_from_json({name: kept.get(name) for name in ("steps", "reason", "confidence")})

    def _noter(self, episode: Episode) -> OnCall:
        def note(call: ModelCall) -> None:
            self._notes.append(self._event("model_called", episode, **call.as_json()))
            self._wake.set()

        return note

    async def _collect(self) -> None:
        await self._flush_notes()
        ended = [task for task in self._tasks if task.done()]
        for task in ended:
            if not task.cancelled():
                events = task.result()
                await self._append(lambda _, events=events: events)
            del self._tasks[task]

    async def _flush_notes(self) -> None:
        notes, self._notes = self._notes, []
        if notes:
            await self._append(lambda _: notes)

    async def _append(
        self, make: Callable[[EscalationState], Iterable[Event]], *, only_if: Action | None = None
    ) -> list[Event]:
        """Append what `make` returns for the state as it is, asked again when the log moved on.

        An event that the state has no place for is left out: the episode recovered, or somebody else moved it on.
        `only_if`: nothing, unless that action is still wanted.
        """
        while True:
            if only_if is not None and only_if not in self._wanted(self._now_ms()):
                return []
            state, events = self.state, list[Event]()
            for event in make(state):
                try:
                    state = apply_escalation(state, event, self._policy)
                except ConflictError:
                    continue
                events.append(replace(event, key=self._key))
            if not events:
                return []
            try:
                stored = await self._store.append(events, expect=self._seq, lease=self.lease)
            except ConflictError:
                if not await self.catch_up():
                    raise  # it is the lease
                continue
            self._fold(stored)
            return stored

    def _fold(self, events: Sequence[Event]) -> None:
        for event in events:
            self.state = apply_escalation(self.state, event, self._policy)
            self._seq = event.seq
            if event.kind == "plan_proposed":
                self._plans[event.data["plan"]] = event.data
            self._on_event(event)
        wanted = {episode.plan for episode in self.state.episodes.values()}
        self._plans = {name: plan for name, plan in self._plans.items() if name in wanted}

    def _event(self, kind: str, episode: Episode, **data: Any) -> Event:
        return Event(kind, self._now_ms(), data={"episode": episode.id, **data})


def _said(error: BaseException) -> str:
    """Return an error in one bounded line; the message of a defect of ours may hold anything."""
    return (error.message if isinstance(error, SaneError) else type(error).__name__)[:DETAIL_CHARS]
