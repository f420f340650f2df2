"""Judges a run by what the platform was told to show, what the tool did, how often the model was called, and the log.

It knows of the code that it judges nothing but the names of subjects: the log is read through `nats`, as JSON, and what
an answer must be follows from its question.
"""

import json
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from factory_contracts import subjects
from hub.kernel.seals import Heads, Inspection
from tests.chaos import ledger, script
from tests.chaos.script import Question
from tests.chaos.surroundings import PLATFORMS

LOG = subjects.plane("turns")[0]
EPOCHS = subjects.epoch(0).removesuffix("0")
MARKS = subjects.mark(0).removesuffix("0")
LEASES = subjects.lease("p", "b").rpartition(".")[0]
OPENING = 60
PLACEHOLDER = "…"
PAGE = 500
# So late the note of a bubble may be, and so long an answer that grows may stand as it is.
LATE, LULL = 2.0, 0.3
# Who was killed or stood still so lately is not there to take over.
UNREADY = 7.0
TERMINAL = ("answered", "refused", "superseded")
SETTLED = ("shown", "undeliverable")
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"

_NAME = re.compile(r"q\d+")
_STOOD_STILL = re.compile(r"\S+ \S+\[(?P<pid>\d+)\] .* stood still for [\d.]+ s")
_GIVEN = re.compile(r"(?P<since>\S+) .* (?P<pid>\d+)-\w+ speaks for \w+/(?P<bot>\S+),")

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the log."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    record: Mapping[str, Any]
    data: bytes = b""

    @property
    def kind(self) -> str:
        """What it says."""
        return str(self.record["kind"])


@dataclass(slots=True)
class Bubble:
    """One message of the bot on the screen, over time."""

    number: int
    message: str
    pid: int
    at: float
    texts: list[str]


@dataclass(slots=True)
class Case:
    """Everything that is known of one question."""

    place: Place
    question: Question
    expected: str
    asked_at: float
    is_confirmed: bool = False
    is_refused: bool = False
    bubbles: list[Bubble] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    callers: list[int] = field(default_factory=list)
    effects: int = 0
    shown_at: float | None = None

    def __str__(self) -> str:
        return f"{self.question.name} ({'/'.join(self.place)}, {self.question.kind})"

    def of(self, *kinds: str) -> list[Entry]:
        """Its records of these kinds, each id once, in the log's order."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.kind in kinds:
                found.setdefault(str(entry.record["id"]), entry)
        return list(found.values())

    @property
    def attempts(self) -> int:
        """How many times a worker was to be asked."""
        return len([entry for entry in self.of("received") if "start" in entry.record]) + len(self.of("started"))


@dataclass(slots=True)
class Deeds:
    """What was done to the processes."""

    kills: list[dict[str, Any]]
    freezes: list[dict[str, Any]]
    troubles: list[dict[str, Any]] = field(default_factory=list)
    stood_still: set[int] = field(default_factory=set)

    @property
    def killed(self) -> set[int]:
        """Every process that was killed."""
        return {deed["pid"] for deed in self.kills}

    @property
    def frozen(self) -> set[int]:
        """Every process that was made to stand still for a while, or was by a machine that had no time for it."""
        return {deed["pid"] for deed in self.freezes} | self.stood_still

    def struck(self, bot: str, at: float) -> bool:
        """Whether one of several spokes of a bot was killed, or made to stand still, just after."""
        return any(
            _bot_of(deed["slot"]) == bot and at - 0.1 <= deed["at"] <= at + LATE for deed in self.kills + self.freezes
        )


@dataclass(slots=True)
class Verdict:
    """What was found: nothing in `faults`, or the run has failed."""

    faults: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    first_words: list[float] = field(default_factory=list)


def deeds(run: Path) -> Deeds:
    """What was done so far."""
    done = list(ledger.read(run / ledger.DEEDS))
    kills, freezes, troubles = (
        [deed for deed in done if deed["deed"] == what] for what in ("kill", "freeze", "trouble")
    )
    return Deeds(kills, freezes, troubles, set(_stood_still(run)))


async def read_log(url: str, user: str, seed: str, after: int = 0) -> tuple[Entry, ...]:
    """The log after a sequence, page by page."""
    client = await nats.connect(url, nkeys_seed_str=seed, inbox_prefix=f"_INBOX_{user}")
    try:
        found: list[Entry] = []
        while True:
            page = await _page(client, (found[-1].sequence if found else after) + 1)
            found += page
            if len(page) < PAGE:
                return tuple(found)
    finally:
        await client.close()


async def _page(client: Client, start: int) -> list[Entry]:
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    request = {"seq": start, "batch": PAGE, "next_by_subj": LOG}
    await client.publish(f"$JS.API.DIRECT.GET.{subjects.STREAM}", json.dumps(request).encode(), reply=inbox)
    found: list[Entry] = []
    while True:
        message: Msg = await subscription.next_msg(timeout=10)
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status in ("204", "404"):
            await subscription.unsubscribe()
            return found
        if status:
            raise RuntimeError(f"the log cannot be read: {status} {headers.get('Description')}")
        subject, sequence = headers["Nats-Subject"], int(headers["Nats-Sequence"])
        found.append(Entry(sequence, subject, headers, json.loads(message.data), message.data))


def write_log(run: Path, log: Iterable[Entry]) -> None:
    """Keep the log beside everything else, for whoever looks for a cause."""
    with (run / "log.jsonl").open("w") as file:
        for entry in log:
            file.write(json.dumps([entry.sequence, entry.subject, dict(entry.headers), entry.record]) + "\n")


def open_turns(log: Iterable[Entry]) -> int:
    """How many turns lack a final receipt."""
    received, settled = set(), set()
    for entry in log:
        if entry.kind == "received":
            received.add(entry.record["turn"])
        elif entry.kind in SETTLED:
            settled.add(entry.record["turn"])
    return len(received - settled)


def inspect(log: Iterable[Entry], noted: Heads | None, verdict: Verdict) -> None:
    """Look whether the seals tell of every record, and what was noted outside of the log is true."""
    inspection = Inspection(noted)
    for entry in log:
        inspection.take(entry.subject, entry.sequence, entry.data)
    verdict.faults += [f"{one.kind} on {one.subject} at {one.sequence}: {one.said}" for one in inspection.faults()]
    verdict.figures["seals"] = sum(head.number for head in inspection.heads.values())
    verdict.figures["unsealed records"] = inspection.unsealed


def judge(run: Path, log: tuple[Entry, ...]) -> Verdict:
    """Hold everything against everything."""
    verdict = Verdict()
    done = deeds(run)
    cases = _cases(run, verdict)
    _sort_log(log, cases, verdict)
    _read_calls(run, cases, verdict)
    for case in cases.values():
        _judge_turn(case, verdict)
    taken = {place: case for place, case in cases.items() if not case.is_refused}
    for case in taken.values():
        _judge_screen(case, done, verdict)
        _judge_work(case, done, verdict)
    _judge_order(taken, verdict)
    _judge_fence(log, verdict)
    _measure(cases, done, verdict)
    _measure_takeovers(run, cases, done, verdict)
    return verdict


def _cases(run: Path, verdict: Verdict) -> dict[Place, Case]:
    """Every question with its bubbles, from the platform's ledger."""
    cases: dict[Place, Case] = {}
    updates: dict[tuple[str, int], Place] = {}
    earlier: Counter[tuple[str, str]] = Counter()
    bubbles: dict[Place, tuple[Case, Bubble]] = {}
    number = 0
    for entry in ledger.read(run / ledger.SCREEN):
        match entry["did"]:
            case "asked":
                place = (entry["bot"], entry["scope"], entry["message"])
                question = Question.read(entry["text"], entry.get("speaker", ""))
                expected = script.answer(question, earlier[place[:2]])
                earlier[place[:2]] += 1
                cases[place] = Case(place, question, expected, entry["at"])
                updates[entry["bot"], entry["update"]] = place
            case "confirmed":
                for update in entry["updates"]:
                    cases[updates[entry["bot"], update]].is_confirmed = True
            case "sent":
                number += 1
                case = cases[entry["bot"], entry["scope"], entry["reply_to"]]
                if entry["text"] == script.REFUSED:
                    case.is_refused = True
                    continue
                bubble = Bubble(number, entry["message"], entry["pid"], entry["at"], [])
                case.bubbles.append(bubble)
                bubbles[entry["bot"], entry["scope"], entry["message"]] = case, bubble
                _show(case, bubble, entry, verdict)
            case "edited":
                case, bubble = bubbles[entry["bot"], entry["scope"], entry["message"]]
                _show(case, bubble, entry, verdict)
    return cases


def _show(case: Case, bubble: Bubble, entry: Mapping[str, Any], verdict: Verdict) -> None:
    text = entry["text"]
    bubble.texts.append(text)
    if text != PLACEHOLDER and not case.expected.startswith(text):
        verdict.faults.append(f"{case}: the screen showed what is no part of the answer: {text[:200]!r}")
    if text == case.expected and case.shown_at is None:
        case.shown_at = entry["at"]


def _sort_log(log: tuple[Entry, ...], cases: dict[Place, Case], verdict: Verdict) -> None:
    """Give every record to its question."""
    turns: dict[str, Case] = {}
    ids: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for entry in log:
        kinds[entry.kind] += 1
        if entry.kind in ("epoch", "mark", "seal", "compacted", "lease"):
            continue
        ids[str(entry.record["id"])] += 1
        turn = str(entry.record["turn"])
        if entry.kind == "received":
            address, message = entry.record["message"]["address"], entry.record["message"]["message_id"]
            case = cases.get((address["bot_id"], address["scope_id"], message))
            if case is None:
                verdict.faults.append(f"the log holds a message that nobody sent: {address} {message}")
                continue
            if entry.record["message"]["text"] != case.question.text:
                verdict.faults.append(f"{case}: the log holds another text")
            turns[turn] = case
        elif turn not in turns:
            verdict.faults.append(f"record {entry.sequence} ({entry.kind}) is of a turn that was never received")
            continue
        turns[turn].entries.append(entry)
    verdict.figures["records"] = len(log)
    verdict.figures["doubled records"] = sum(count - 1 for count in ids.values())
    verdict.figures["reigns"] = kinds["epoch"] // subjects.PARTITIONS
    verdict.figures["compactions"] = kinds["compacted"]
    verdict.figures["leases"] = kinds["lease"]


def _read_calls(run: Path, cases: dict[Place, Case], verdict: Verdict) -> None:
    by_name = {case.question.name: case for case in cases.values()}
    for call in ledger.read(run / ledger.CALLS):
        by_name[_NAME.findall(call["said"])[0]].callers.append(call["process"])
    for effect in ledger.read(run / ledger.EFFECTS):
        by_name[effect["question"]].effects += 1
    verdict.figures["questions"] = len(cases)


def _judge_turn(case: Case, verdict: Verdict) -> None:
    """Accepted is answered, once, and closed; what was refused for want of room was told so, and is nowhere else."""
    if case.is_refused:
        verdict.figures["refused for want of room"] = verdict.figures.get("refused for want of room", 0) + 1
        if case.entries or case.bubbles or case.callers:
            verdict.faults.append(f"{case}: was refused, and {[entry.kind for entry in case.entries]} stand on the log")
        return
    if not case.is_confirmed:
        verdict.faults.append(f"{case}: was never accepted")
    if len(case.of("received")) != 1:
        verdict.faults.append(f"{case}: {len(case.of('received'))} records say that it was received")
    terminal = case.of(*TERMINAL)
    if len(terminal) != 1:
        verdict.faults.append(f"{case}: {len(terminal)} terminal records: {[one.kind for one in terminal]}")
    for one in terminal:
        record = one.record
        if one.kind != "answered" or record["outcome"] != "complete" or record["text"] != case.expected:
            words = f"{record.get('outcome', '')} {record.get('text', '')!r}"
            verdict.faults.append(f"{case}: the log says {one.kind}: {words}")
    if len(case.of(*SETTLED)) != 1:
        verdict.faults.append(f"{case}: is open: {[entry.kind for entry in case.entries]}")
    first = {kind: case.of(kind)[0].sequence for kind in ("received", "answered", "shown") if case.of(kind)}
    if sorted(first.values()) != list(first.values()):
        verdict.faults.append(f"{case}: its records stand in the wrong order")
    attempts = [entry.record["start"]["attempt"] for entry in case.of("received", "started") if "start" in entry.record]
    if attempts != list(range(1, len(attempts) + 1)):
        verdict.faults.append(f"{case}: its attempts are {attempts}")


def _judge_screen(case: Case, done: Deeds, verdict: Verdict) -> None:
    """The answer stands there once in full; what else there is holds the opening words at most."""
    count = verdict.figures
    whole = [bubble for bubble in case.bubbles if bubble.texts[-1] == case.expected]
    if len(whole) != 1:
        ends = [one.texts[-1][-60:] for one in case.bubbles]
        verdict.faults.append(f"{case}: its answer stands on the screen {len(whole)} times: {ends}")
    opened = case.of("opened")
    if len(opened) > 1:
        verdict.faults.append(f"{case}: the log knows {len(opened)} bubbles")
    if whole and opened and opened[0].record["message_id"] != whole[0].message:
        verdict.faults.append(f"{case}: the log's bubble is not the one with the answer")
    for bubble in whole[:1]:
        shrunk = sum(len(after) < len(before) for before, after in pairwise(bubble.texts))
        count["bubbles started over"] = count.get("bubbles started over", 0) + bool(shrunk)
        if shrunk and case.attempts == 1:
            verdict.faults.append(f"{case}: its bubble went back though its only attempt went on")
        idle = sum(after == before for before, after in pairwise(bubble.texts))
        count["edits that changed nothing"] = count.get("edits that changed nothing", 0) + idle
    orphans = [bubble for bubble in case.bubbles if bubble not in whole]
    count["orphans"] = count.get("orphans", 0) + len(orphans)
    for orphan in orphans:
        if len(orphan.texts) > 1 or len(orphan.texts[0]) > OPENING:
            verdict.faults.append(f"{case}: a second bubble holds more than the opening words")
        # Only between the platform's "sent" and the note can a bubble be lost, and only by a death.
        if orphan.pid not in done.killed and not done.struck(case.place[0], orphan.at):
            verdict.faults.append(f"{case}: a second bubble, though the spoke that sent it lived on")


def _judge_work(case: Case, done: Deeds, verdict: Verdict) -> None:
    """The model is asked again only after its worker's death, and an effect never happens twice."""
    count = verdict.figures
    extra = len(case.callers) - script.calls(case.question)
    count["extra model calls"] = count.get("extra model calls", 0) + max(0, extra)
    count["turns begun again"] = count.get("turns begun again", 0) + (case.attempts > 1)
    if extra < 0:
        verdict.faults.append(f"{case}: the model was called {len(case.callers)} times")
    intact = set(case.callers) - done.killed - done.frozen
    if len(intact) > 1:
        verdict.faults.append(f"{case}: was given to another worker, though both of {sorted(intact)} lived on")
    for worker, times in Counter(case.callers).items():
        # Within one life only a freeze may cost a call: the worker that wakes has dropped its turns.
        if times > script.calls(case.question) and worker not in done.frozen:
            verdict.faults.append(f"{case}: {times} model calls in one life of worker {worker}")
    if case.question.kind != "tool":
        return
    count["effects"] = count.get("effects", 0) + case.effects
    if case.effects > 1:
        verdict.faults.append(f"{case}: its tool had {case.effects} effects")
    if not case.of("tool started"):
        verdict.faults.append(f"{case}: its tool was never begun")
    if case.effects == 0:
        count["effects that a death prevented"] = count.get("effects that a death prevented", 0) + 1
        if case.attempts == 1:
            verdict.faults.append(f"{case}: its tool had no effect, and no worker died of it")
    if not case.of("tool done"):
        count["effects of unknown outcome"] = count.get("effects of unknown outcome", 0) + 1


def _judge_order(cases: Mapping[Place, Case], verdict: Verdict) -> None:
    """In every scope the bubbles, and the turns on the log, come in the order of the questions."""
    scopes: defaultdict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases.values():
        scopes[case.place[:2]].append(case)
    verdict.figures["scopes"] = len(scopes)
    for of_scope in scopes.values():
        for before, after in pairwise(of_scope):
            if before.bubbles and after.bubbles and before.bubbles[0].number > after.bubbles[0].number:
                verdict.faults.append(f"{after}: its bubble came before that of {before}")
            received = [case.of("received")[0].sequence for case in (before, after) if case.of("received")]
            if sorted(received) != received:
                verdict.faults.append(f"{after}: was accepted before {before}")
            begun = [one.sequence for one in after.of("received", "started") if "start" in one.record]
            for kind in ("answered", "opened"):
                ended = [one.sequence for one in before.of(kind)]
                if begun and ended and begun[0] < ended[0]:
                    verdict.faults.append(f"{after}: was begun before {before} was {kind}")


def _judge_fence(log: tuple[Entry, ...], verdict: Verdict) -> None:
    """Every record names the reign that was the last when it was stored."""
    owners: dict[int, int] = {}
    seals: dict[str, int] = {}
    for entry in log:
        if entry.kind == "seal":
            # A chain is fenced by itself: whoever seals must know the last seal.
            before = seals.get(entry.subject, 0)
            if entry.headers.get(EXPECTED) != str(before):
                verdict.faults.append(f"seal {entry.sequence} follows {entry.headers.get(EXPECTED)}, not {before}")
            seals[entry.subject] = entry.sequence
            continue
        if entry.subject.startswith(EPOCHS):
            owners[int(entry.subject.removeprefix(EPOCHS))] = entry.sequence
            continue
        is_mark = entry.subject.startswith(MARKS)
        part = int(entry.subject.removeprefix(MARKS)) if is_mark else _partition(entry)
        if entry.subject.startswith(LEASES):
            part = subjects.partition(subjects.EVERY_SCOPE)
        named = entry.headers.get(EXPECTED_SUBJECT), entry.headers.get(EXPECTED)
        if named != (f"{EPOCHS}{part}", str(owners.get(part))):
            words = f"names {named}, the owner is {owners.get(part)}"
            verdict.faults.append(f"record {entry.sequence} ({entry.kind}) {words}")


def _partition(entry: Entry) -> int:
    scope = unquote(entry.subject.rsplit(".", 1)[1])
    return crc32(scope.encode()) % subjects.PARTITIONS


def _measure(cases: Mapping[Place, Case], done: Deeds, verdict: Verdict) -> None:
    """How long it took after each kill until an answer was complete again, and each answer since its question."""
    shown = sorted(case.shown_at for case in cases.values() if case.shown_at is not None)
    for deed in done.kills:
        after = bisect_right(shown, deed["at"])
        if after < len(shown):
            verdict.recoveries.append(shown[after] - deed["at"])
    verdict.latencies = [case.shown_at - case.asked_at for case in cases.values() if case.shown_at is not None]


def _measure_takeovers(run: Path, cases: Mapping[Place, Case], done: Deeds, verdict: Verdict) -> None:
    """How long nothing was written when the spoke that spoke for a bot, and nobody else, was killed amid an answer."""
    writes: defaultdict[str, list[float]] = defaultdict(list)
    for entry in ledger.read(run / ledger.SCREEN):
        if entry["did"] in ("sent", "edited"):
            writes[entry["bot"]].append(entry["at"])
    given = sorted(_given(run))
    struck = [(deed["pid"], deed["at"]) for deed in done.kills + done.freezes]
    for deed in done.kills:
        bot, at = _bot_of(deed["slot"]), deed["at"]
        if [pid for since, one, pid in given if one == bot and since <= at][-1:] != [deed["pid"]]:
            continue
        if any(pid != deed["pid"] and at - UNREADY < when < at + 1 for pid, when in struck):
            continue
        growing = [
            case for case in cases.values() if case.place[0] == bot and case.bubbles and (case.shown_at or at + 1) > at
        ]
        is_amid = any(case.bubbles[0].at < at for case in growing) and any(at - LULL < one < at for one in writes[bot])
        after = next((one for one in writes[bot] if one > at), None)
        if is_amid and after is not None:
            verdict.first_words.append(after - at)


def _given(run: Path) -> Iterable[tuple[float, str, int]]:
    """When which process was given the lease of which bot, as the hubs tell: the log keeps the last of each."""
    for path in (run / "log").glob("hub*.log"):
        day = datetime.fromtimestamp(path.stat().st_mtime).date()
        for line in path.read_text(errors="replace").splitlines():
            if found := _GIVEN.match(line):
                since = datetime.combine(day, time.fromisoformat(found["since"])).timestamp()
                yield since, found["bot"], int(found["pid"])


def _stood_still(run: Path) -> Iterable[int]:
    """Who says of itself that it stood still for longer than the others wait."""
    for path in (run / "log").glob("*.log"):
        for line in path.read_text(errors="replace").splitlines():
            if found := _STOOD_STILL.match(line):
                yield int(found["pid"])


def _bot_of(slot: str) -> str:
    """The bot of a spoke, by its name and its number; nothing for who is no spoke."""
    platform, _, bot = slot.partition(".")[0].partition("-")
    return bot if platform in PLATFORMS else ""
