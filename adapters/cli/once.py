"""One question and its answer: results on stdout, talk on stderr, and nobody at the prompt."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TextIO
from uuid import uuid4

from adapters.cli import normalize
from adapters.cli.consent import Consent
from adapters.cli.conversation import INTERRUPTED, SENDING, Conversation, Join, keep, patiently
from adapters.cli.downloads import announced, folder_of, save
from adapters.cli.files import File, one_line
from adapters.cli.normalize import PLATFORM, Speaker
from adapters.cli.render import Paint, Told, advance, advance_plain, clean, events, fit, is_apart, usage_line
from adapters.spoke import Reply
from factory_contracts import messages
from factory_contracts.messages import Refused, Said, turn_id
from factory_contracts.render import RENDER, AnswerEnded, RenderEvent, SavedFile

FAILED = 1
# What is told here stays on the screen, and a system that has just been started takes a second.
PATIENCE = 2.0
FORGOTTEN_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, by whom and where, and the folder for the files that answers bring.

    What was `piped` in goes with it as a quotation: somebody else may have written it.
    """

    text: str
    scope: str
    speaker: Speaker
    files_folder: Path
    agent: str | None = None
    files: tuple[File, ...] = ()
    piped: str = ""


Saved = tuple[SavedFile, ...]


class Unwritable(Exception):
    """Stdout takes no more of an answer; the sentence says why, and is empty where whoever read it has enough."""


class Writer(Protocol):
    """A way to put an answer on stdout as it grows."""

    def show(self, reply: Reply, saved: Saved = ()) -> None:
        """The answer as it stands now, and at its end the files that it brought."""
        ...

    def refuse(self, turn: str, why: str) -> None:
        """There will be no answer; the person is told elsewhere."""
        ...


class Plain:
    """The Markdown itself, as it comes. A pipe gets it to the letter, a terminal without what it would obey."""

    def __init__(self, stdout: TextIO, tell: Callable[[str], None], *, tells_progress: bool = False) -> None:
        self._stdout = stdout
        self._tell = tell
        self._tells_progress = tells_progress
        self._printed = ""
        self._activity = ""

    def show(self, reply: Reply, saved: Saved = ()) -> None:
        """Write what is new, and beside it, where that is wanted, what is being done; of a failure tell the words."""
        if self._tells_progress and reply.activity and reply.activity != self._activity:
            self._activity = reply.activity
            self._tell(reply.activity)
        step = advance_plain(self._printed, reply.text, is_final=reply.is_final)
        is_failed = reply.is_final and reply.outcome == "failed"
        if step.starts_over:
            self._stdout.write("" if self._printed.endswith("\n") else "\n")
            self._tell("the answer starts over")
            self._printed = ""
        if not is_failed:
            self._printed = step.printed
            for text in step.blocks:
                self._stdout.write(clean(text) if self._stdout.isatty() else text)
        if reply.is_final and (self._printed or not is_failed) and not self._printed.endswith("\n"):
            self._stdout.write("\n")
        self._stdout.flush()
        if is_failed:
            self._tell(clean("".join(step.blocks)).strip())
        _announce(self._tell, reply, saved)

    def refuse(self, turn: str, why: str) -> None:
        """Nothing: stdout is for answers."""


class Painted:
    """Finished blocks, drawn once, and below them one line that is drawn over."""

    def __init__(self, stdout: TextIO, tell: Callable[[str], None], paint: Paint) -> None:
        self._stdout = stdout
        self._tell = tell
        self._paint = paint
        self._printed = ""
        self._last_block = ""

    def show(self, reply: Reply, saved: Saved = ()) -> None:
        """Write what is finished, and over the last line what is not."""
        columns = _columns(self._stdout)
        step = advance(self._printed, reply.text, is_final=reply.is_final, is_asked=reply.question is not None)
        self._stdout.write("\r\x1b[K")
        if step.starts_over:
            self._stdout.flush()
            self._tell("the answer starts over")
        self._printed = step.printed
        for block in step.blocks:
            if not block.strip():
                continue
            if self._last_block and is_apart(self._last_block, block):
                self._stdout.write("\n")
            self._stdout.write(self._paint(block, columns) + "\n")
            self._last_block = block
        line = step.tail.strip().rpartition("\n")[2] or reply.activity or ""
        if line and not reply.is_final and reply.question is None:
            self._stdout.write(f"\x1b[2m{fit(line, columns, is_end=True)}\x1b[0m")
        self._stdout.flush()
        _announce(self._tell, reply, saved)

    def refuse(self, turn: str, why: str) -> None:
        """Nothing: stdout is for answers."""


def _announce(tell: Callable[[str], None], reply: Reply, saved: Saved) -> None:
    """What a whole answer brings besides its words."""
    for file in saved:
        tell(announced(file))
    if reply.is_final and reply.choices:
        tell(f"choices: {', '.join(map(one_line, reply.choices))}")


class Events:
    """One RenderEvent a line, as JSON, for a program."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout
        self._told = Told()

    def show(self, reply: Reply, saved: Saved = ()) -> None:
        """Write what a program must be told now."""
        ended = None
        if reply.is_final:
            ended = AnswerEnded(
                turn=reply.turn,
                text=reply.text,
                outcome=reply.outcome,
                usage=reply.usage,
                files=saved or None,
                choices=reply.choices or None,
            )
        question = reply.question.text if reply.question is not None else None
        self._told, news = events(self._told, reply.turn, reply.text, reply.activity, ended, question)
        self._write(news)

    def refuse(self, turn: str, why: str) -> None:
        """An end without an answer, so that a program has not to read stderr."""
        self._write((AnswerEnded(turn=turn, text=why, outcome="failed"),))

    def _write(self, news: Iterable[RenderEvent]) -> None:
        for event in news:
            self._stdout.write(RENDER.encode(event).decode() + "\n")
        self._stdout.flush()


class Once:
    """The screen of a single turn; other turns of the scope are for those who sit at it."""

    def __init__(
        self,
        question: Question,
        *,
        join: Join,
        writer: Writer,
        stdin: TextIO,
        stdout: TextIO,
        stderr: TextIO,
        use_color: bool = False,
        allows: bool = False,
    ) -> None:
        self._question = question
        self._join = join
        self._writer = writer
        self._stdout = stdout
        self._stderr = stderr
        self._is_dim = use_color and stderr.isatty()
        self._consent = Consent(stdin, stderr, self.tell, allows=allows)
        self._asked: messages.Question | None = None
        self._deciding: set[asyncio.Task[None]] = set()
        self._spoke: Conversation | None = None
        # Set while an answer is on its way, which /stop can end.
        self._answering: Conversation | None = None
        self._finals: dict[str, asyncio.Future[Reply]] = {}
        self._turn = ""
        self._stopping: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._is_interrupted = False

    async def run(self) -> int:
        """Ask and answer; the exit code."""
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._ask())
        loop.add_signal_handler(signal.SIGINT, self._interrupt, work)
        try:
            await asyncio.wait({work})
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            work.cancel()
            await asyncio.wait({work})
        if work.cancelled() or self._is_interrupted:
            return INTERRUPTED
        return work.result()

    async def send(self, reply: Reply) -> str:
        """A terminal's bubble is known by its turn; the words come with the first edit."""
        return reply.turn

    async def edit(self, message_id: str, reply: Reply) -> None:
        """Write what is new, and save what comes with it."""
        saved: Saved = ()
        is_awaited = reply.turn == self._turn and not self._finals[reply.turn].done()
        if is_awaited and reply.is_final and reply.attachments and self._spoke is not None:
            folder = folder_of(self._question.files_folder, self._question.scope)
            saved = await save(self._spoke, reply.attachments, folder)
        self._show(reply, saved)

    async def said(self, said: Said) -> None:
        """What others ask is not what was asked here; but what was may be answered with theirs."""
        if said.joined is not None and said.turn in self._finals:
            self._finals[said.joined] = self._finals[said.turn]
            if said.turn == self._turn:
                self._turn = said.joined

    def went(self, scope_id: str) -> None:
        """What this terminal kept of a session is removed."""
        if scope_id == self._question.scope:
            self._gone.set()

    def tell(self, text: str) -> None:
        """Talk, which never mixes with the result."""
        if text:
            line = clean(text)
            self._stderr.write(f"\x1b[2m{line}\x1b[0m\n" if self._is_dim else f"{line}\n")
            self._stderr.flush()

    def _show(self, reply: Reply, saved: Saved) -> None:
        final = self._finals.get(reply.turn)
        if final is None or final.done():
            return
        # While a question waits for its answer, nothing is written below it.
        if reply.turn == self._turn and (reply.question is None or reply.question != self._asked):
            self._put(reply.turn, reply.question)
            try:
                self._writer.show(reply, saved)
            except OSError as error:
                # What Python flushes at its end must go somewhere.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stdout.fileno())
                final.set_exception(Unwritable("" if isinstance(error, BrokenPipeError) else error.strerror))
                return
        if reply.is_final:
            final.set_result(reply)

    def _put(self, turn: str, question: messages.Question | None) -> None:
        """This is asked from now on, below what is written now."""
        self._consent.withdraw()
        self._asked = question
        if question is not None and self._spoke is not None:
            deciding = asyncio.create_task(self._decide(self._spoke, turn, question))
            self._deciding.add(deciding)
            deciding.add_done_callback(self._deciding.discard)

    async def _decide(self, spoke: Conversation, turn: str, question: messages.Question) -> None:
        approved = await self._consent.ask(question.text)
        if approved is None:
            return
        asker = self._question
        refused = await spoke.decide(asker.scope, turn, question.code, asker.speaker.user_id, approved=approved)
        if refused is not None:
            self.tell(refused.text)

    async def _ask(self) -> int:
        spoke = self._spoke = self._join(self._question.scope, self)
        try:
            with patiently(self.tell, PATIENCE):
                welcome = await spoke.start()
                agent = self._question.agent
                if agent is not None and agent != welcome.agent:
                    bound = await self._answer(spoke, f"/agent {agent}")
                    if isinstance(bound, Refused) or bound.outcome == "failed":
                        self.tell(bound.text)
                        return FAILED
            return await self._converse(spoke)
        finally:
            for deciding in self._deciding:
                deciding.cancel()
            await asyncio.gather(*self._deciding, return_exceptions=True)
            if self._stopping is not None:
                await asyncio.wait({self._stopping}, timeout=1)
                self._stopping.cancel()
            await spoke.close()

    async def _converse(self, spoke: Conversation) -> int:
        try:
            reply = await self._answer(spoke, self._question.text, self._question.files, is_shown=True)
        except Unwritable as error:
            if str(error):
                self.tell(f"the answer cannot be written: {error}; make room there, or write it elsewhere")
            return FAILED
        if isinstance(reply, Refused):
            why = reply.text or f"not sent: {reply.reason}"
            self._writer.refuse(self._turn, why)
            self.tell(why)
            return FAILED
        if reply.outcome == "complete" and self._question.text.strip() == normalize.FORGET_ALL:
            # Who asked for it is the one to remove what lies here; it is told in a moment.
            with suppress(TimeoutError):
                async with asyncio.timeout(FORGOTTEN_WITHIN):
                    await self._gone.wait()
        if self._stderr.isatty() and reply.usage is not None and reply.usage.calls:
            self.tell(usage_line(reply.usage))
        # A word of the hub says all there is to say.
        if reply.outcome == "failed" and (reply.usage is not None or not normalize.is_word(self._question.text)):
            self.tell(f"see why: factory turns show {reply.turn}")
        return 0 if reply.outcome == "complete" else FAILED

    async def _answer(
        self, spoke: Conversation, text: str, files: tuple[File, ...] = (), *, is_shown: bool = False
    ) -> Reply | Refused:
        question = self._question
        message_id = uuid4().hex
        turn = turn_id(PLATFORM, question.speaker.bot_id, question.scope, message_id)
        final: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._finals[turn] = final
        if is_shown:
            self._turn = turn
        with patiently(self.tell, PATIENCE, SENDING):
            attachments = await keep(spoke, question.scope, files)
        if isinstance(attachments, Refused):
            return attachments
        with patiently(self.tell, PATIENCE):
            outcome = await spoke.submit(
                normalize.message(
                    text,
                    speaker=question.speaker,
                    scope_id=question.scope,
                    message_id=message_id,
                    sent_at=datetime.now().timestamp(),
                    attachments=attachments,
                    quoted=(question.piped or None) if is_shown else None,
                )
            )
        if isinstance(outcome, Refused):
            return outcome
        if is_shown:
            self._answering = spoke
        return await final

    def _interrupt(self, work: asyncio.Task[int]) -> None:
        if self._is_interrupted or self._answering is None:
            work.cancel()
        else:
            self._stopping = asyncio.create_task(self._stop(self._answering))
        self._is_interrupted = True

    async def _stop(self, spoke: Conversation) -> None:
        told = await self._answer(spoke, "/stop")
        if isinstance(told, Refused) or told.outcome == "failed":
            self.tell(told.text)


def _columns(stdout: TextIO) -> int:
    try:
        return os.get_terminal_size(stdout.fileno()).columns or 80
    except OSError:
        return 80
