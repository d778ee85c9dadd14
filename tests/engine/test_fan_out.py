"""Many asked at once: in order, so many at a time, and what goes wrong in one by a defect leaves none at work."""

from __future__ import annotations

import asyncio

import pytest

from sane.engine.fan_out import ask_all


async def test_the_answers_have_the_order_of_the_questions_and_no_more_are_asked_at_once() -> None:
    asked, most, answered = 0, 0, list[int]()

    async def ask(number: int) -> int:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        for _ in range(5 - number):
            await asyncio.sleep(0)
        asked -= 1
        return number * 10

    assert await ask_all(range(5), ask, parallel=2, on_answer=answered.append) == [0, 10, 20, 30, 40]
    assert most == 2
    assert sorted(answered) == [0, 10, 20, 30, 40]


async def test_a_defect_in_one_ends_the_others_before_it_is_raised() -> None:
    reached, left = asyncio.Event(), list[str]()

    async def ask(name: str) -> str:
        if name == "web1":
            await reached.wait()
            raise RuntimeError("a defect")
        try:
            reached.set()
            await asyncio.Event().wait()
        finally:
            left.append(name)
        return name

    with pytest.raises(RuntimeError, match="a defect"):
        await ask_all(["web1", "web2"], ask)
    assert left == ["web2"]
