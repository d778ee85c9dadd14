"""Drive a deployment here: the loop, the hosts' places and leases, and Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from sane.core.events import Event
from sane.core.paths import state_dir
from sane.core.rollout.controller import RolloutState
from sane.core.rollout.table import TERMINAL
from sane.core.units import parse_duration_ms, show_duration
from sane.engine.context import AsyncContext
from sane.engine.hooks import hook_after, hook_error, is_left_over, run_hook
from sane.engine.host_leases import may_be_held
from sane.engine.hosts import HostPlaces
from sane.engine.performer import WorkflowPerformer
from sane.engine.plan import DeploymentPlan
from sane.engine.presence import present
from sane.engine.runner import LEASE_TTL_MS, Runner, steady_clock, way_on
from sane.engine.steps import StepResult
from sane.errors import (
    ConflictError,
    InterruptedRunError,
    SaneError,
    StoppedRunError,
    StoreError,
    UnavailableError,
    UsageError,
)
from sane.operations.deployments import bury_dead_driver, load_deployment, owner_name, plan_of, request
from sane.store.base import Store
from sane.store.outputs import prune_outputs

OUTPUTS_MAX_AGE_S = 30 * 86_400.0
OUTPUTS_MAX_BYTES = 2 << 30
GOOD = ("healthy", "unchanged", "reverted")
MIN_LEASE_TTL_MS = 1_000  # renewed three times in it, each a write to the log's disk


async def drive(
    store: Store,
    deployment: str,
    *,
    say: Callable[[str], None],
    wait_for_people: bool = True,
    keep_windows: bool = False,
    with_keyboard: bool = True,
) -> RolloutState:
    """Drive a deployment until it ends, or until it waits for a person where `wait_for_people` is False.

    Ctrl-C asks for a cancellation and names the hosts in flight; a second one stops at once (InterruptedRunError).
    Without `with_keyboard`, signals are left to the caller.
    Raises ConflictError when another controller drives it, InterruptedRunError where the log can't be written.
    """
    state, first = await load_deployment(store, deployment)
    if state.terminal and "source" not in first.data:
        return state  # adopted from hosts that kept no workflow: there are no hooks to end
    plan = plan_of(first, state)
    context, now_ms = AsyncContext(plan.inventory), steady_clock()
    hooks = _Hooks(store, context, plan, now_ms, say)
    try:
        if not state.terminal:
            begun = frozenset(host.spec.name for host in state.hosts if host.operation)
            places = HostPlaces(context, state.key, plan.via, anew=begun)
            drive = _Drive(store, state, plan, places, context, now_ms, hooks)
            state = await drive.run(say, wait_for_people=wait_for_people, with_keyboard=with_keyboard)
            state = await hooks.conclude(state)
            await _leave_windows(places, state, say, keep_windows)
        else:
            state = await hooks.conclude(state)  # whoever drove it may have died on the way
        await _prune_outputs(store)
        return state
    finally:
        await context.close()


async def refuse_ended(store: Store, deployment: str) -> Event:
    """Return the event that created a deployment that can be gone on with.

    Raises ConflictError for one that has ended, unless whoever drove it died before the hook behind its end was done.
    """
    state, first = await load_deployment(store, deployment)
    left = state.terminal and "source" in first.data and await is_left_over(store, plan_of(first, state), state)
    if state.terminal and not left:
        hint = f"sane deployment status {state.id} shows its report; sane retry {state.key} takes hosts that need it."
        raise ConflictError(f"deployment {state.id} has ended ({state.status})", hint=hint)
    return first


@dataclass(frozen=True, slots=True)
class _Drive:
    """Hold what one controller needs for one deployment."""

    store: Store
    state: RolloutState
    plan: DeploymentPlan
    places: HostPlaces
    context: AsyncContext
    now_ms: Callable[[], int]
    hooks: _Hooks

    async def run(self, say: Callable[[str], None], *, wait_for_people: bool, with_keyboard: bool) -> RolloutState:
        """Return the state in which the loop left the deployment; the hosts' leases are given up."""
        owner, key = owner_name(), self.state.key
        performer = WorkflowPerformer(
            self.plan,
            self.context,
            self.places,
            owner,
            lambda: runner.lease.token,
            self.now_ms,
            lambda event: runner.note(event),
        )
        runner = Runner(
            self.store,
            self.state.id,
            key,
            owner,
            performer,
            now_ms=self.now_ms,
            lease_ttl_ms=lease_ttl_ms(),
            wait_for_people=wait_for_people,
            before=self.hooks.prepare,
        )
        keyboard = _Keyboard(self.store, runner, self.state.id, say, with_keyboard)
        left: list[str] = []
        try:
            if await self.store.find_lease(key) is not None:  # nobody who ends in order leaves it
                left = may_be_held(self.state)
            await bury_dead_driver(self.store, key)
            with present(state_dir(os.environ), owner, lambda: runner.holds_lease):
                async with keyboard:
                    return await runner.run()
        except asyncio.CancelledError:
            if not keyboard.stops:
                raise  # a deadline around this, or the end of who called
            raise keyboard.stopped() from None
        except (StoreError, UnavailableError) as error:  # the log fails; what was begun goes on, and stands in it
            raise InterruptedRunError(error.message, hint=f"{error.hint} {way_on(self.state.id)}".strip()) from error
        finally:
            await performer.release(left)


@dataclass(frozen=True, slots=True)
class _Hooks:
    """Run what a workflow wants done here before its hosts and behind them; say what failed."""

    store: Store
    context: AsyncContext
    plan: DeploymentPlan
    now_ms: Callable[[], int]
    say: Callable[[str], None]

    async def prepare(self, state: RolloutState) -> None:
        """Run the first hook; where it fails, the deployment does, before a host is touched."""
        if state.status != "pending":
            return
        problem = await self._run(state, "pre_deploy")
        # Whoever ran it before may have died before the deployment could be failed for it.
        told = [hook_error(h.hook, h.step, h.error) for h in state.failed_hooks if h.hook == "pre_deploy"]
        for error in [problem.error] if problem else told[:1]:
            self.say(error)
            with contextlib.suppress(ConflictError):  # it is being cancelled: nothing starts then either
                await request(self.store, state.id, "fail", error)

    async def conclude(self, state: RolloutState) -> RolloutState:
        """Run the hook that the end calls for, and return the state behind it."""
        if (hook := hook_after(state)) and (problem := await self._run(state, hook)):
            self.say(problem.error)
            state, _ = await load_deployment(self.store, state.id)
        return state

    async def _run(self, state: RolloutState, hook: str) -> StepResult | None:
        return await run_hook(self.store, self.context, self.plan, state, hook, self.now_ms)


def lease_ttl_ms() -> int:
    """Return for how long a lease on a deployment key holds: SANE_LEASE_TTL, else 30 s. Raises UsageError."""
    text = os.environ.get("SANE_LEASE_TTL", "")
    if not text:
        return LEASE_TTL_MS
    ttl_ms = parse_duration_ms(text, "SANE_LEASE_TTL")
    if ttl_ms < MIN_LEASE_TTL_MS:
        hint = f"Write {show_duration(MIN_LEASE_TTL_MS)} or more."
        raise UsageError(f"SANE_LEASE_TTL is too short to be renewed in time, got '{text}'", hint=hint)
    return ttl_ms


async def _prune_outputs(store: Store) -> None:
    """Remove the outputs of old deployments here; what is active, and the newest of each key, stays."""
    rows = await store.list_deployments(limit=1000)
    newest = {row.key: row.id for row in reversed(rows)}
    keep = {*newest.values(), *(row.id for row in rows if row.status not in TERMINAL)}
    with contextlib.suppress(OSError):  # it can wait for the next one
        await asyncio.to_thread(
            prune_outputs,
            state_dir(os.environ),
            now_s=time.time(),
            max_age_s=OUTPUTS_MAX_AGE_S,
            max_bytes=OUTPUTS_MAX_BYTES,
            keep=keep,
        )


async def _leave_windows(places: HostPlaces, state: RolloutState, say: Callable[[str], None], keep: bool) -> None:
    """Close the windows of hosts that ended well; say where the others can be looked at."""
    windows = places.windows()
    well = {host.spec.name for host in state.hosts if host.status in GOOD and not keep}
    await places.close_windows(well)
    if left := sorted(set(windows) - well):
        say(f"the windows of {', '.join(left)} are open: tmux attach -t {places.session}")


class _Keyboard:
    """Turn the first Ctrl-C into a request to cancel, the second into an end at once."""

    def __init__(
        self, store: Store, runner: Runner, deployment: str, say: Callable[[str], None], listens: bool
    ) -> None:
        self._listens = listens
        self._store = store
        self._runner = runner
        self._deployment = deployment
        self._say = say
        self._asking: asyncio.Task[None] | None = None
        self._main = asyncio.current_task()
        self._twice = False
        self.stops = False

    async def __aenter__(self) -> _Keyboard:
        if not self._listens:
            return self
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._listens:
            return
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
        if self._asking is not None:
            self._asking.cancel()  # the rollout has ended: whether it was cancelled in time stands in the log
            await asyncio.gather(self._asking, return_exceptions=True)

    def _interrupt(self) -> None:
        if self._asking is not None:
            self._twice = True
            self._stop()
            return
        self._asking = asyncio.create_task(self._ask())

    def _stop(self) -> None:
        if self._main is not None:
            self.stops = True
            self._main.cancel()

    def stopped(self) -> InterruptedRunError:
        """Return what a stop at once left behind."""
        names = ", ".join(self._runner.in_flight())
        text = f"deployment {self._deployment} was stopped" + (f" while at work on {names}" if names else "")
        hint = way_on(self._deployment)
        return StoppedRunError(text, hint=hint) if self._twice else InterruptedRunError(text, hint=hint)

    async def _ask(self) -> None:
        flying = ", ".join(self._runner.in_flight()) or "none"
        self._say(f"cancelling; hosts in flight finish their part: {flying}. Press Ctrl-C again to stop at once.")
        try:
            await request(self._store, self._deployment, "cancel", "Ctrl-C", keyboard=True)
        except SaneError as error:
            self._say(error.message)
