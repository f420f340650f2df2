"""One attempt at a turn, as worker and hub see it: what it says and does, numbered, told at its pace, and kept."""

import asyncio
import logging
from asyncio import Task, TimerHandle
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from factory_contracts.engine import Engine
from factory_contracts.messages import Attachment, Usage
from factory_contracts.trace import ModelStep, Step
from factory_contracts.work import ApprovalWanted, Recorded, RecordReply, Requested, Run, Steer, ToolEvent
from hub.kernel import harness
from hub.kernel.agent import BY_HAND
from hub.kernel.engine import CHAT, Begin, Event
from hub.kernel.foreign import unlabelled
from hub.kernel.harness import End, Show
from hub.kernel.ports import Media, Spoken
from workers.clipool.aloud import aloud
from workers.clipool.discretion import discreet_step
from workers.clipool.hearing import is_spoken
from workers.clipool.kit import Kit
from workers.clipool.limit import Limit
from workers.clipool.steps import NO_INPUT, Steps, begun
from workers.clipool.tape import Tape, clean
from workers.engine.drive import Drive
from workers.engine.guard import guarded

logger = logging.getLogger(__name__)

HERE = "🔊"
NOBODY_SPEAKS = "Nobody here can say it aloud: nobody serves `voice.tts`."
LINE = 500
NAME = 255


class Desk(Protocol):
    """What a turn needs of the worker that runs it."""

    @property
    def understood(self) -> int:
        """The highest version that the hub is known to understand."""
        ...

    def stir(self, turn: "Turn") -> None:
        """The turn has something to tell; it will be asked to `take` it soon."""
        ...

    async def record(self, run: Run, record: Requested) -> RecordReply:
        """Whether the record is on the log, or the call allowed. Waits while nobody answers."""
        ...

    def drop(self, turn: "Turn") -> None:
        """End the turn here and keep nothing of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Work:
    """What an attempt is carried out by."""

    steps: Steps
    drive: Drive


class Turn:
    """Everything about one attempt, from its command until it is forgotten."""

    __slots__ = (
        "_cursor",
        "_desk",
        "_due",
        "_held",
        "_is_stirred",
        "_kit",
        "_loop",
        "_reference",
        "_said",
        "_tape",
        "_timer",
        "_usage",
        "_work",
        "limit",
        "run",
        "task",
    )

    def __init__(self, run: Run, instance: str, kit: Kit, desk: Desk) -> None:
        self.run = run
        self.task: Task[None] | None = None
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self.limit = Limit(run.agent.limits.max_seconds)
        self._tape = Tape(run.turn, run.attempt, instance)
        self._kit = kit
        self._reference = sha256(f"{run.turn}.{run.attempt}".encode()).hexdigest()[:8]
        steps = Steps(run, run.agent, kit, self, self._reference)
        self._work: _Work | None = _Work(steps, Drive(steps))
        self._usage = Usage()
        # Whoever speaks is answered aloud as well.
        self._said: list[str] | None = [] if run.lines and is_spoken(run.lines[-1]) else None
        self._held: End | None = None
        self._cursor = 0
        self._due = 0.0
        self._is_stirred = False
        self._timer: TimerHandle | None = None
        if run.engine is None and run.aloud is None:
            # What is said before the turn is carried out finds somebody who hears it.
            self._feed(Begin(CHAT, self._reference, is_tainted=bool(run.tainted)))

    @property
    def is_over(self) -> bool:
        """Whether all is said."""
        return self._tape.is_over

    @property
    def is_stirred(self) -> bool:
        """Whether something waits to be taken."""
        return self._is_stirred

    @property
    def told(self) -> int:
        """How many events were published."""
        return self._tape.told

    async def carry_out(self) -> None:
        """From the first step to the end."""
        work = self._work
        if self.run.aloud is not None:
            await self._read_aloud(self.run.aloud)
        elif work is not None:
            await self._carry_out(work)
        # What is over is kept for what it said. All that it was made from refers to itself, and would wait here for a
        # search that walks through everything.
        self._work = None
        self.run = self.run.model_copy(update={"lines": ()})

    async def _carry_out(self, work: _Work) -> None:
        if self.run.engine is None:
            await work.drive.carry_out()
        else:
            await self._run_engine(self.run.engine, work)
        if self._held is not None:
            self._let_go(await self._speak(aloud("".join(self._said or ()))))

    def stop(self) -> None:
        """The person has heard enough."""
        self._let_go(None)
        self._feed(harness.Stop())

    def run_out(self) -> None:
        """The turn has taken as long as it may."""
        self._let_go(None)
        self._feed(harness.TimeUp())

    def steer(self, command: Steer) -> None:
        """The person adds something."""
        line = command.line
        trusted = unlabelled(line.text) if line.trusted else ""
        if self._work is not None:
            said = Spoken(line.role, line.text)
            tainted, after = bool(command.tainted), command.after or ""
            self._work.drive.steer(harness.Steer(command.joining, said, tainted, trusted, after))

    def close(self) -> None:
        """Leave off: nothing more is done or told."""
        work, self._work = self._work, None
        if work is not None:
            work.drive.close()
        self._held = None
        self._is_stirred = False
        if self._timer is not None:
            self._timer.cancel()
        if self.task is not None:
            self.task.cancel()

    def tell_from(self, start: int) -> bool:
        """Tell everything from this event on once more; false when there is nothing yet."""
        has_heard = self._work is not None and self._work.drive.has_heard
        if not has_heard and not self._tape.has_after(start):
            return False
        self._cursor = min(self._cursor, start)
        self._stir_now()
        return True

    def take(self) -> list[bytes]:
        """What is to be published now."""
        if self._work is not None:
            self._work.drive.hear()
        self._is_stirred = False
        self._due = self._loop.time() + self.run.pace_ms / 1000
        payloads = self._tape.tell(self._cursor, self._desk.understood)
        self._cursor = self._tape.told
        return payloads

    # The stage of its steps

    def stir(self) -> None:
        """Be heard as soon as the pace allows it, the first time at once."""
        if self._is_stirred:
            return
        self._is_stirred = True
        if self._loop.time() >= self._due:
            self._desk.stir(self)
        else:
            self._timer = self._loop.call_at(self._due, self._desk.stir, self)

    def say(self, text: str) -> None:
        """More of the answer."""
        if self._said is not None:
            self._said.append(text)
        self._tape.say(text)
        self.stir()

    def show(self, show: Show) -> None:
        """The one line that a person may see of a tool."""
        # Of tools that a provider runs itself, the provider chooses the names.
        call, tool = (clean(name)[:NAME] or "-" for name in (show.call, show.tool))
        self._tape.show(ToolEvent(call=call, tool=tool, state=show.state, text=clean(show.text)[:LINE]))
        self.stir()

    def note(self, step: Step) -> None:
        """A model call or a tool call is over."""
        # A person's hand is no model, though it is asked like one.
        if isinstance(step, ModelStep) and step.model != BY_HAND:
            self._usage = _added(self._usage, step)
        self._tape.note(discreet_step(step, self._kit.redactor))
        self.stir()

    def end(self, end: End) -> None:
        """All is said; what is to be heard as well is said aloud first."""
        is_within = self.task is asyncio.current_task()
        if self._said is not None and end.outcome == "complete" and is_within:
            self._held = end
        else:
            self._end(end)

    def _let_go(self, voice: Attachment | None) -> None:
        """The end that waited for a voice."""
        end, self._held = self._held, None
        if end is not None:
            self._end(end if voice is None else replace(end, attachments=(*end.attachments, voice)))

    def _feed(self, event: Event) -> None:
        if self._work is not None:
            self._work.drive.feed(event)

    async def _run_engine(self, name: str, work: _Work) -> None:
        """An engine of several steps, which is given what its name was followed by."""
        engines = self._kit.engines
        found = await guarded(engines.find(name)) if engines is not None else None
        given = await self._given(work) if isinstance(found, Engine) else None
        # Who stopped it meanwhile has had its end.
        if self._tape.is_over:
            return
        if isinstance(found, Engine) and given is not None:
            await begun(work.drive, work.steps, found, given)
            return
        reason = NO_INPUT
        if isinstance(found, Exception):
            reason = f"The engine `{name}` cannot be read here; `factory engine list` tells why."
            logger.error("engine %s cannot be read", name, exc_info=found)
        elif found is None:
            there = ", ".join(engines.names) if engines is not None else ""
            others = f"There is: {there}." if there else "None is here; `factory engine new NAME` writes one."
            reason = f"There is no engine `{name}` here. {others}"
        self.say(reason)
        self.end(End("failed", reason))

    async def _given(self, work: _Work) -> str | None:
        """What the engine is to work on: words, or else the text of a file; None where that is gone."""
        line = self.run.lines[-1]
        if line.text or not line.attachments:
            if line.trusted:
                work.steps.trust(unlabelled(line.text))
            return line.text
        blobs = self._kit.blobs
        data = await blobs.get(self.run.scope, line.attachments[0]) if blobs is not None else None
        # What holds a zero is no text, whatever it is said to be.
        return None if data is None or 0 in data else data.decode(errors="replace")

    async def _speak(self, words: str) -> Attachment | None:
        """The words as a voice message that the person's screen can read, where somebody can say them."""
        voice, blobs = self._kit.voice, self._kit.blobs
        if voice is None or not words:
            return None
        said = await guarded(voice.speak(self.run.turn, words))
        if isinstance(said, Media):
            return await blobs.keep(self.run.scope, said) if blobs is not None else None
        if said is not None:
            logger.error("the answer of turn %s cannot be said aloud", self.run.turn, exc_info=said)
        return None

    async def _read_aloud(self, words: str) -> None:
        """Say what was answered before, and do nothing else."""
        voice = await self._speak(aloud(words))
        # Who stopped it meanwhile has had its end.
        if not self._tape.is_over:
            self.say(HERE if voice else NOBODY_SPEAKS)
            self._end(End("complete" if voice else "failed", attachments=(voice,) if voice else ()))

    def _end(self, end: End) -> None:
        reference = self._reference if end.reason else None
        if reference is not None:
            logger.error("turn %s failed, reference %s: %s", self.run.turn, reference, end.reason)
        self._tape.end(
            end.outcome,
            self._usage,
            reference,
            end.joined,
            end.attachments,
            end.choices,
            is_tainted=end.is_tainted,
        )
        self._stir_now()
        # An end that comes from outside finds a model or tools at work.
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def record(self, record: Requested) -> RecordReply:
        """Whether the record is on the log, or the call allowed; where the attempt is over, nothing of it is kept."""
        with self.limit.held() if isinstance(record, ApprovalWanted) else nullcontext():
            reply = await self._desk.record(self.run, record)
        if not isinstance(reply, Recorded) and not reply.words:
            self._desk.drop(self)
        return reply

    def _stir_now(self) -> None:
        self._is_stirred = True
        if self._timer is not None:
            self._timer.cancel()
        self._desk.stir(self)


def _added(usage: Usage, step: ModelStep) -> Usage:
    return Usage(
        calls=usage.calls + 1,
        input_tokens=usage.input_tokens + step.input_tokens,
        output_tokens=usage.output_tokens + step.output_tokens,
        cache_read_tokens=usage.cache_read_tokens + step.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens + step.cache_write_tokens,
        cost=usage.cost + (step.cost or 0),
        unpriced=usage.unpriced + (step.cost is None),
    )
