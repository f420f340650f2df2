"""A terminal session: what is typed goes to the hub one line after another, what is answered appears in its order."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from adapters.cli import files, normalize, sessions
from adapters.cli.conversation import SENDING, Conversation, Join, keep, patiently
from adapters.cli.downloads import announced, folder_of, save
from adapters.cli.files import File, Unattachable, one_line, told, with_files
from adapters.cli.normalize import PLATFORM, Attach, Exit, Help, Resume, Say, Sessions, Speaker, Unsayable
from adapters.cli.render import Paint, advance, clean, fit, is_apart, live, paid_by, split, unstyled, usage_line
from adapters.cli.surface import Surface
from adapters.spoke import Reply
from factory_contracts.messages import (
    Accepted,
    AlreadyAccepted,
    Attachment,
    Exchange,
    InboundMessage,
    Question,
    Refused,
    Said,
    Welcome,
    turn_id,
)
from factory_contracts.render import SavedFile

# The hub repeats a final for longer than this; an answer whose end never came must not hold up the next for ever.
_GIVE_UP = 20.0
# What a stop ends is there by then, and stands before the word that it was stopped.
_MOMENT = 0.5
_QUEUE = 100
# Of what was said before: enough to find back into it.
_RECALLED = 4
_EARLIER_LINES = 6
_LAST_LINES = 16


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a terminal begins and what it keeps between sessions."""

    scope: str
    speaker: Speaker
    agent: str | None
    history_file: Path
    sessions_file: Path
    files_folder: Path
    use_color: bool


@dataclass(slots=True, eq=False)
class _Attached:
    """A file that goes with the next message; until it is read there is only its name."""

    name: str
    file: File | None = None
    why: str = ""
    is_read: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def size(self) -> int:
        """How much of it is known to go with the message."""
        return len(self.file.data) if self.file is not None else 0


@dataclass(frozen=True, slots=True)
class _Line:
    """A message on its way to the hub; its ids are made before it is first sent, so a repetition is the same."""

    message_id: str
    turn: str
    text: str
    attached: tuple[_Attached, ...] = ()

    @property
    def shown(self) -> str:
        """The words, and which files go with them."""
        return with_files(self.text, (one.name for one in self.attached))


@dataclass(frozen=True, slots=True)
class _Switch:
    """Go on in another scope, once everything typed before is handed over."""

    scope: str


@dataclass(slots=True, eq=False)
class _Turn:
    """What was asked, and what is on the screen of its answer, which has not ended."""

    name: str
    text: str = ""
    asker: str = ""
    # Until its question is on the screen: not while another answer is being given.
    is_waiting: bool = False
    # The session that it makes.
    copy: str = ""
    printed: str = ""
    tail: str = ""
    last_block: str = ""
    # What came of the answer last.
    reply: Reply | None = None
    # What the agent may do only if somebody allows it.
    standing: Question | None = None

    @property
    def activity(self) -> str:
        """What is being done for it now."""
        return (self.reply.activity if self.reply is not None else None) or ""


class Bot:
    """The terminal as a screen of the hub, and the person at it."""

    def __init__(self, terminal: Terminal, *, join: Join, load_paint: Callable[[], Paint], stdout: TextIO) -> None:
        self._terminal = terminal
        self._scope = terminal.scope
        self._join = join
        self._load_paint = load_paint
        self._paint: Paint = lambda text, width: text
        self._ready = asyncio.Event()
        self._free = asyncio.Event()
        self._outgoing: asyncio.Queue[_Line | _Switch] = asyncio.Queue(_QUEUE)
        self._unsent: list[_Line] = []
        self._attached: list[_Attached] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # In the order asked; ended ones are kept to recognise what is sent again.
        self._turns: dict[str, _Turn] = {}
        self._ended: dict[str, None] = {}
        # The one whose answer is being shown.
        self._shown: _Turn | None = None
        self._awaited: dict[str, asyncio.Future[Reply]] = {}
        # What was said without a word on the screen.
        self._unshown: set[str] = set()
        self._spoke: Conversation | None = None
        # What the last answer offers to say next, by what is typed for it.
        self._choices: dict[str, str] = {}
        self._is_noted = False
        self._status = ""
        self._painted: tuple[tuple[str, int, int], list[str]] | None = None
        self._surface = Surface(
            stdout,
            history_file=terminal.history_file,
            scope=lambda: self._scope,
            use_color=terminal.use_color,
            live=self._live,
            on_line=self._on_line,
            on_interrupt=self._on_interrupt,
            on_answer=self._on_answer,
            complete=self._complete,
            hint=self._hint,
        )

    async def run(self) -> int:
        """Converse until the person leaves; the exit code."""
        async with asyncio.TaskGroup() as group:
            painter = group.create_task(asyncio.to_thread(self._load_paint))
            talking = group.create_task(self._converse(painter))
            code = await self._surface.run()
            talking.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tell_unfinished()
        return code

    async def send(self, reply: Reply) -> str:
        """The bubble's id is the turn's own, so every terminal of a session names it alike; edits show the words."""
        return reply.turn

    async def edit(self, message_id: str, reply: Reply) -> None:
        """Print what is finished, keep the rest alive."""
        await self._show(reply)

    async def said(self, said: Said) -> None:
        """Another terminal of this session asked."""
        await self._ready.wait()
        if said.joined is not None:
            # Its words were shown when they were said; what answers them answers another question too.
            self._print_questions(said.turn)
            self._close(said.turn)
        elif said.turn not in self._turns and said.turn not in self._ended:
            self._ask(_Turn(said.turn, said.text, said.user_name or "somebody", is_waiting=True))

    def went(self, scope_id: str) -> None:
        """What was typed there is not offered again, and the session is noted anew when it goes on."""
        self._surface.recall_anew()
        if scope_id == self._scope:
            self._is_noted = False

    async def _show(self, reply: Reply) -> None:
        if (awaited := self._awaited.get(reply.turn)) is not None:
            if reply.is_final and not awaited.done():
                awaited.set_result(reply)
            return
        await self._ready.wait()
        if reply.is_final and reply.turn in self._unshown:
            self._unshown.discard(reply.turn)
            # What it brings about is seen anyway.
            if reply.outcome == "failed":
                self._say(clean(reply.text))
            return
        asked = self._turns.get(reply.turn)
        if asked is not None and reply.is_final and normalize.is_told_at_once(asked.text):
            await self._tell(asked, reply)
            return
        turn = await self._take_turn(reply.turn)
        if turn is None:
            return
        saved: tuple[SavedFile, ...] = ()
        if reply.is_final and reply.attachments and self._spoke is not None:
            # What is said is read while its files come.
            self._draw(turn, replace(reply, is_final=False))
            folder = folder_of(self._terminal.files_folder, self._scope)
            saved = await save(self._spoke, reply.attachments, folder)
        self._draw(turn, reply, saved)

    async def _take_turn(self, name: str) -> _Turn | None:
        """Wait until this turn's answer is the one being shown; None where it was shown before."""
        while name not in self._ended:
            if self._shown is None:
                self._print_questions(name)
                self._shown = self._turns.setdefault(name, _Turn(name))
                self._free.clear()
            if self._shown.name == name:
                return self._shown
            # The next answer may begin before the last one's end has come again.
            shown, reply = self._shown, self._shown.reply
            try:
                async with asyncio.timeout(_GIVE_UP):
                    await self._free.wait()
            except TimeoutError:
                if self._shown is shown and shown.reply is reply:
                    self._say("the end of this answer did not come")
                    self._close(shown.name)
        return None

    async def _tell(self, turn: _Turn, reply: Reply) -> None:
        """Print what the hub says to a word at once; the answer that is being shown goes on below."""
        # It stands before all that is still to be answered.
        for later in [each for each in self._turns.values() if each.is_waiting and each is not turn]:
            self._turns[later.name] = self._turns.pop(later.name)
        if self._shown is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT):
                    await self._free.wait()
        if turn.name not in self._turns:
            return
        self._print_question(turn)
        self._draw(turn, reply)
        if self._shown is not None:
            self._shown.last_block = ""

    def _draw(self, turn: _Turn, reply: Reply, saved: tuple[SavedFile, ...] = ()) -> None:
        step = advance(turn.printed, reply.text, is_final=reply.is_final, is_asked=reply.question is not None)
        if step.starts_over:
            self._say("the answer starts over")
            turn.last_block = ""
        turn.printed, turn.tail, turn.reply = step.printed, step.tail, reply
        self._print_blocks(turn, step.blocks)
        self._stand(turn, reply.question)
        if reply.is_final:
            self._end(turn, reply, saved)
        self._surface.refresh()

    def _stand(self, turn: _Turn, question: Question | None) -> None:
        """Print a question when it comes; while it stands, y and n decide."""
        if question == turn.standing:
            return
        turn.standing = question
        if question is None:
            self._surface.ask_no_more()
            return
        blocks, tail = split(question.text)
        self._surface.print("\n".join(self._drawn("", (*blocks, tail))))
        turn.last_block = ""
        self._surface.ask()

    def _on_answer(self, is_allowed: bool) -> None:
        shown = self._shown
        if shown is None or shown.standing is None or self._spoke is None:
            return
        self._say("allowed" if is_allowed else "denied")
        self._do(self._decide(self._spoke, shown.name, shown.standing, is_allowed))

    async def _decide(self, spoke: Conversation, turn: str, question: Question, is_allowed: bool) -> None:
        speaker = self._terminal.speaker
        with patiently(self._set_status):
            refused = await spoke.decide(self._scope, turn, question.code, speaker.user_id, approved=is_allowed)
        if refused is not None:
            self._say(clean(refused.text) or f"not decided: {refused.reason}")

    def _print_blocks(self, turn: _Turn, blocks: Sequence[str]) -> None:
        lines = self._drawn(turn.last_block, blocks)
        if lines:
            turn.last_block = blocks[-1]
            self._surface.print("\n".join(lines))

    def _drawn(self, before: str, blocks: Sequence[str]) -> list[str]:
        """The lines of some blocks, and empty ones where they stand apart."""
        lines: list[str] = []
        for block in blocks:
            if not block.strip():
                continue
            if is_apart(before, block):
                lines.append("")
            lines += self._paint(block, self._surface.columns).split("\n")
            before = block
        return lines

    def _end(self, turn: _Turn, reply: Reply, saved: tuple[SavedFile, ...]) -> None:
        remarks = []
        if reply.outcome == "stopped":
            remarks.append("stopped")
        elif not reply.text.strip():
            remarks.append("no answer")
        if reply.usage is not None and reply.usage.calls:
            remarks.append(usage_line(reply.usage))
        self._choices = {str(number): choice for number, choice in enumerate(reply.choices, 1)}
        offered = "  ".join(f"{number} {one_line(choice)}" for number, choice in self._choices.items())
        below = [*map(announced, saved), " · ".join(remarks), offered]
        if any(below):
            self._say("\n".join(filter(None, below)))
        if self._shown is turn:
            # A scope's turns are answered in their order: the end of one asked before this was shown elsewhere.
            while (earlier := next(iter(self._turns))) != turn.name:
                del self._turns[earlier]
        if turn.copy and reply.outcome == "complete":
            self._note_copy(turn.copy)
        self._close(turn.name)

    def _close(self, name: str) -> None:
        turn = self._turns.pop(name, None)
        if turn is not None and turn is self._shown:
            self._shown = None
            self._free.set()
        if turn is not None and turn.standing is not None:
            self._surface.ask_no_more()
        self._ended[name] = None
        if len(self._ended) > 10_000:
            del self._ended[next(iter(self._ended))]
        self._print_next_question()

    def _on_line(self, line: str) -> bool:
        match normalize.read(line):
            case Unsayable(why):
                if why:
                    self._say(why)
                return not why or why.startswith("no command")
            case Help():
                self._say(_help())
            case Sessions():
                self._say(self._list_sessions())
            case Resume(name):
                self._resume(name)
            case Attach(words):
                self._attach(words)
            case Exit():
                self._surface.leave(0)
            case Say(text):
                return self._submit(self._choices.get(text.strip(), text))
        return True

    def _submit(self, text: str, *, is_quiet: bool = False) -> bool:
        # A word to the hub is no message that files could go with.
        attached = () if normalize.is_word(text) else tuple(self._attached)
        line = self._line(text, attached)
        try:
            self._outgoing.put_nowait(line)
        except asyncio.QueueFull:
            self._say("too many lines wait for the hub; try again in a moment")
            return False
        self._unsent.append(line)
        if is_quiet:
            self._ended[line.turn] = None
            self._unshown.add(line.turn)
            return True
        if attached:
            self._attached.clear()
        self._choices.clear()
        copy = text.removeprefix(normalize.FORK).strip() if text.startswith(normalize.FORK) else ""
        self._ask(_Turn(line.turn, line.shown, is_waiting=True, copy=copy))
        return True

    def _attach(self, words: str) -> None:
        """Have the files that are named go with the next message; they are read meanwhile."""
        if words == "-" and self._attached:
            self._say(f"no file goes with the next message any more {told([one.name for one in self._attached])}")
            self._attached.clear()
            return
        if words in ("", "-"):
            here = [one.file.words if one.file is not None else one_line(one.name) for one in self._attached]
            self._say("\n".join(["with the next message:", *here]) if here else "no file goes with the next message")
            return
        for path in files.named(words):
            if len(self._attached) == files.MOST_FILES:
                self._say(f"{one_line(path)} is one too many: {files.MOST_FILES} files go with a message")
                return
            attached = _Attached(Path(path).name or path)
            self._attached.append(attached)
            self._do(self._read(path, attached))

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, path: str, attached: _Attached) -> None:
        try:
            attached.file = await asyncio.to_thread(files.read, path)
            if attached in self._attached:
                files.check_together(one.size for one in self._attached)
        except Unattachable as error:
            attached.why = str(error)
        finally:
            attached.is_read.set()
        if attached.why and attached in self._attached:
            self._attached.remove(attached)
        if attached.why:
            self._say(attached.why)
        elif attached in self._attached and attached.file is not None:
            self._say(f"with the next message: {attached.file.words}")
        self._surface.refresh()

    def _on_interrupt(self) -> bool:
        if not self._turns:
            return False
        self._submit("/stop", is_quiet=True)
        return True

    def _resume(self, name: str) -> None:
        known = [noted for noted in sessions.load(self._terminal.sessions_file) if noted.name != self._scope]
        try:
            found = sessions.find(known, name)
        except sessions.UnknownSession as error:
            self._say(str(error))
            return
        try:
            self._outgoing.put_nowait(_Switch(found.name))
        except asyncio.QueueFull:
            self._say("too many lines wait for the hub; try again in a moment")

    def _list_sessions(self) -> str:
        known = sessions.load(self._terminal.sessions_file)
        if not known:
            return "no session yet"
        return "\n".join(f"{noted.name}  {clean(noted.words)}" for noted in known[-20:])

    def _complete(self, line: str) -> Sequence[str]:
        if line.startswith("/resume "):
            begun = line.removeprefix("/resume ")
            known = sessions.load(self._terminal.sessions_file)
            return [f"/resume {noted.name}" for noted in reversed(known) if noted.name.startswith(begun)]
        if line.startswith(normalize.ATTACH):
            return [normalize.ATTACH + path for path in files.complete(line.removeprefix(normalize.ATTACH))]
        return normalize.matching(line)

    def _hint(self, line: str) -> str:
        commands = normalize.matching(line)
        if len(commands) == 1:
            return f"{commands[0]}  {normalize.WORDS[commands[0]]}"
        # One that is not read yet may be none.
        there = [one.name for one in self._attached if one.file is not None]
        if commands or not there:
            return "  ".join(commands)
        return fit(f"with it: {told(there)}", self._surface.columns)

    async def _converse(self, painter: asyncio.Task[Paint]) -> None:
        while True:
            spoke = self._spoke = self._join(self._scope, self)
            try:
                with patiently(self._set_status):
                    welcome = await spoke.start()
                    welcome = await self._bind(spoke, welcome)
                self._paint = await painter
                self._greet(welcome)
                self._ready.set()
                self._print_next_question()
                scope = await self._talk(spoke)
            finally:
                await spoke.close()
            self._leave_scope(scope)

    async def _talk(self, spoke: Conversation) -> str:
        while True:
            going = await self._outgoing.get()
            if isinstance(going, _Switch):
                return going.scope
            self._note(going.text)
            outcome = await self._hand_over(spoke, going)
            self._unsent.remove(going)
            if isinstance(outcome, Refused):
                self._refused(going, outcome)

    async def _hand_over(self, spoke: Conversation, line: _Line) -> Accepted | AlreadyAccepted | Refused:
        for attached in line.attached:
            await attached.is_read.wait()
        ready = [attached.file for attached in line.attached if attached.file is not None and not attached.why]
        if len(ready) < len(line.attached):
            # Without its file the question would be another one.
            return Refused(reason="unavailable", text="not sent, for a file of it cannot be attached")
        with patiently(self._set_status, what=SENDING):
            attachments = await keep(spoke, self._scope, ready)
        if isinstance(attachments, Refused):
            return attachments
        with patiently(self._set_status):
            return await spoke.submit(self._message(line, attachments))

    async def _bind(self, spoke: Conversation, welcome: Welcome) -> Welcome:
        """Ask for the agent that the command line named, before anything else is said."""
        agent = self._terminal.agent
        if agent is None or agent == welcome.agent or self._scope != self._terminal.scope:
            return welcome
        line = self._line(f"/agent {agent}")
        self._ended[line.turn] = None
        self._awaited[line.turn] = asyncio.get_running_loop().create_future()
        outcome = await spoke.submit(self._message(line))
        if isinstance(outcome, Refused):
            self._say(outcome.text or outcome.reason)
            return welcome
        reply = await self._awaited[line.turn]
        if reply.outcome == "failed":
            self._say(reply.text)
        return await spoke.hello(self._scope)

    def _line(self, text: str, attached: tuple[_Attached, ...] = ()) -> _Line:
        message_id = uuid4().hex
        turn = turn_id(PLATFORM, self._terminal.speaker.bot_id, self._scope, message_id)
        return _Line(message_id, turn, text, attached)

    def _message(self, line: _Line, attachments: tuple[Attachment, ...] = ()) -> InboundMessage:
        return normalize.message(
            line.text,
            speaker=self._terminal.speaker,
            scope_id=self._scope,
            message_id=line.message_id,
            sent_at=datetime.now().timestamp(),
            attachments=attachments,
        )

    def _note(self, text: str) -> None:
        """A session is worth a note from its first message on."""
        if not self._is_noted:
            self._is_noted = True
            sessions.add(self._terminal.sessions_file, sessions.note(self._scope, text, datetime.now()))

    def _note_copy(self, name: str) -> None:
        """A copy of this session can be resumed now; this one stays the last that was used."""
        now, file = datetime.now(), self._terminal.sessions_file
        sessions.add(file, sessions.note(name, f"a copy of {self._scope}", now))
        sessions.add(file, sessions.note(self._scope, "", now))

    def _refused(self, line: _Line, refused: Refused) -> None:
        if (turn := self._turns.get(line.turn)) is not None:
            self._print_question(turn)
        self._say(clean(refused.text) or f"not sent: {refused.reason}")
        self._close(line.turn)

    def _leave_scope(self, scope: str) -> None:
        self._ready.clear()
        self._scope = scope
        self._shown = None
        self._surface.ask_no_more()
        self._free.set()
        self._turns.clear()
        self._choices.clear()
        self._is_noted = False

    def _set_status(self, status: str) -> None:
        self._status = status
        self._surface.refresh()

    def _greet(self, welcome: Welcome) -> None:
        who = welcome.agent or "nobody answers here yet"
        what = f" · {paid_by(welcome.model, welcome.payer)}" if welcome.model else ""
        self._surface.print(f"{self._bold('factory')} · {clean(who)}{clean(what)}")
        self._surface.print(self._dim(f"session {self._scope} · /help tells what can be typed"))
        self._ended.update((exchange.turn, None) for exchange in welcome.history)
        for exchange in welcome.history[-_RECALLED:]:
            self._recall(exchange, _LAST_LINES if exchange is welcome.history[-1] else _EARLIER_LINES)

    def _recall(self, exchange: Exchange, most: int) -> None:
        blocks, tail = split(exchange.answered)
        lines = unstyled("\n".join(self._drawn("", (*blocks, tail)))).split("\n")[1:]
        if len(lines) > most:
            lines = ["…", *lines[-most:]]
        words = with_files(clean(exchange.asked), (attachment.name for attachment in exchange.attachments))
        asked = "\n  ".join(words.split("\n"))
        self._surface.print("\n" + self._dim(f"> {asked}"))
        self._surface.print("\n" + self._dim("\n".join(lines)))

    def _ask(self, turn: _Turn) -> None:
        self._turns[turn.name] = turn
        self._print_next_question()

    def _print_next_question(self) -> None:
        """Print what is about to be answered; nothing, while another answer is or will be given before."""
        next_turn = next(iter(self._turns), None)
        if self._ready.is_set() and self._shown is None and next_turn is not None:
            self._print_questions(next_turn)
        self._surface.refresh()

    def _print_questions(self, name: str) -> None:
        """Print what was asked up to this turn."""
        if name not in self._turns:
            return
        for turn in self._turns.values():
            self._print_question(turn)
            if turn.name == name:
                return

    def _print_question(self, turn: _Turn) -> None:
        if not turn.is_waiting:
            return
        turn.is_waiting = False
        text = "\n  ".join(clean(turn.text).split("\n"))
        asker = self._dim(f"{clean(turn.asker)} ") if turn.asker else ""
        self._surface.print(f"\n{asker}{self._bold('>')} {text}")

    def _say(self, text: str) -> None:
        """A remark of the terminal's own."""
        self._surface.print("\n" + self._dim(text))

    def _live(self, columns: int, rows: int) -> list[str]:
        """The lines above the prompt: an empty one, the tail, and what goes on."""
        below = []
        shown = self._shown
        if shown is not None and shown.activity:
            below.append(self._dim(fit(f"· {shown.activity}", columns)))
        elif self._turns and not (shown is not None and (shown.standing is not None or shown.tail.strip())):
            below.append(self._dim("…"))
        waiting = [turn for turn in self._turns.values() if turn.is_waiting]
        if waiting:
            more = f" (+{len(waiting) - 1})" if len(waiting) > 1 else ""
            below.append(self._dim(fit(f"next: {waiting[0].text}{more}", columns)))
        if self._status:
            below.append(self._dim(fit(self._status, columns)))
        tail = self._tail(columns, max(1, rows - len(below)))
        if tail and shown is not None and not is_apart(shown.last_block, shown.tail):
            return [*tail, *([""] if below else []), *below, ""]
        return ["", *tail, *below, *([""] if tail or below else [])]

    def _tail(self, columns: int, rows: int) -> list[str]:
        tail = self._shown.tail if self._shown is not None else ""
        if not tail.strip():
            return []
        key = (tail, columns, rows)
        if self._painted is None or self._painted[0] != key:
            lines = self._paint(live(tail), columns).split("\n")
            self._painted = (key, lines[-rows:])
        return self._painted[1]

    def _tell_unfinished(self) -> None:
        if self._shown is not None and self._shown.tail.strip():
            self._print_blocks(self._shown, (self._shown.tail,))
        for line in self._unsent:
            self._say(f"not sent, the hub is away: {clean(line.shown)}")

    def _dim(self, text: str) -> str:
        return _styled(text, "2") if self._terminal.use_color else text

    def _bold(self, text: str) -> str:
        return _styled(text, "1") if self._terminal.use_color else text


def _styled(text: str, code: str) -> str:
    return "\n".join(f"\x1b[{code}m{line}\x1b[0m" if line else "" for line in text.split("\n"))


def _help() -> str:
    commands = "\n".join(f"{command:10} {what}" for command, what in normalize.COMMANDS.items())
    return (
        f"{commands}\n"
        f"{' '.join(normalize.POWERS)}\n"
        "Enter sends; Alt-Enter, or a backslash before it, begins a line; Ctrl-R searches\n"
        "Ctrl-C stops an answer, twice leaves; Ctrl-D leaves"
    )
