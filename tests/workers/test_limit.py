"""A time limit that stands still while somebody is asked."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import pass_time
from workers.clipool.limit import Limit

pytestmark = pytest.mark.asyncio(loop_scope="function")


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_limit_is_past_when_its_seconds_are() -> None:
    limit = Limit(10)
    await pass_time(9.9)
    assert not limit.is_past(now())
    await pass_time(0.2)
    assert limit.is_past(now())


async def test_what_is_waited_for_a_person_does_not_count() -> None:
    limit = Limit(10)
    await pass_time(4)
    with limit.held():
        await pass_time(3_600)
        assert not limit.is_past(now())
    await pass_time(5.9)
    assert not limit.is_past(now())
    await pass_time(0.2)
    assert limit.is_past(now())


async def test_who_waits_longest_holds_it_longest() -> None:
    limit = Limit(10)
    with limit.held():
        await pass_time(100)
        with limit.held():
            await pass_time(100)
        await pass_time(100)
        assert not limit.is_past(now())
    await pass_time(9.9)
    assert not limit.is_past(now())
    await pass_time(0.2)
    assert limit.is_past(now())


async def test_work_is_ended_when_its_time_is_over_and_not_before() -> None:
    limit = Limit(10)
    began = now()

    async def work() -> None:
        with limit.held():
            await asyncio.sleep(3_600)
        await asyncio.sleep(3_600)

    with pytest.raises(TimeoutError):
        await limit.within(work())
    assert now() - began == pytest.approx(3_610)


async def test_work_that_is_done_in_time_is_done_however_long_it_was_held() -> None:
    limit = Limit(10)

    async def work() -> str:
        for _ in range(3):
            with limit.held():
                await asyncio.sleep(100)
            await asyncio.sleep(3)
        return "done"

    assert await limit.within(work()) == "done"
    with limit.held():
        await pass_time(1)


async def test_who_is_asked_in_the_moment_in_which_the_time_is_over_changes_nothing() -> None:
    limit = Limit(10)

    async def work() -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            with limit.held():
                await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await limit.within(work())


async def test_a_limit_that_is_held_is_ended_by_who_ends_the_work() -> None:
    limit = Limit(10)

    async def work() -> None:
        with limit.held():
            await asyncio.sleep(3_600)

    task = asyncio.create_task(limit.within(work()))
    await pass_time(20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
