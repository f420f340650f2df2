"""Judges a seed by what the platform was told to show, what the tool did, what the model was asked, and the log.

It knows of the product nothing but the names of subjects and records: the log is read as JSON, and what an answer must
be follows from its question.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise, takewhile
from typing import Any
from urllib.parse import unquote
from zlib import crc32

from factory_contracts import subjects
from tests.chaos import script
from tests.sim.house import MOST, PURSE, Evidence, House, Record
from tests.sim.loop import Process
from tests.sim.platform import BOT, PLATFORM, Bubble, Press, Said
from tests.sim.script import DENIED, GONE, GRANTED, LATE, NOT_TOLD, PARAGRAPH, Word, answers, calls

EPOCHS = subjects.epoch(0).removesuffix("0")
SEALS = subjects.seal(0).removesuffix("0")
RECKONED = subjects.reckoned()
MARKS = subjects.mark(0).removesuffix("0")
OPENING = 60
# For so long a worker that was out of reach may be taken for one that is gone.
SILENCE = 5.0
PLACEHOLDER = "…"
TERMINAL = ("answered", "refused", "superseded")
SETTLED = ("shown", "undeliverable")
SCOPES = subjects.turns_of_bot(PLATFORM, BOT).removesuffix("*")


@dataclass(slots=True)
class Case:
    """Everything that is known of one question."""

    said: Said
    expected: tuple[str, ...] = ()
    was_stopped: bool = False
    was_too_dear: bool = False
    chain: str = ""
    turn: str = ""
    bubbles: list[Bubble] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    callers: list[tuple[float, Process]] = field(default_factory=list)
    effects: int = 0

    def __str__(self) -> str:
        return f"{self.said.question.name} ({self.said.scope}/{self.said.message}, {self.said.question.kind})"

    def of(self, *kinds: str) -> list[Record]:
        """Its records of these kinds, each id once, in the log's order."""
        found: dict[str, Record] = {}
        for record in self.records:
            if record.kind in kinds:
                found.setdefault(str(record.body["id"]), record)
        return list(found.values())

    @property
    def answer(self) -> str:
        """What is to stand on the screen: what the log says, where that is an answer to what was said."""
        for record in self.of("answered"):
            if self.is_answer(record):
                return str(record.body["text"])
        return self.expected[0]

    @property
    def is_word(self) -> bool:
        """Whether it was for the hub."""
        return isinstance(self.said.question, Word)

    @property
    def is_stop(self) -> bool:
        """Whether it was to end an answer."""
        return isinstance(self.said.question, Word) and self.said.question.command == "/stop"

    @property
    def is_hasty(self) -> bool:
        """Whether it came before its turn, as what is said of an answer that still grows does."""
        return isinstance(self.said.question, Word) and self.said.question.command != "/new"

    @property
    def decided(self) -> Mapping[str, Any] | None:
        """What was decided on its question."""
        return next((record.body for record in self.of("decided")), None)

    @property
    def was_refused(self) -> bool:
        """Whether the person was told that it was not taken."""
        return bool(self.said.refusals) and not self.records

    def is_answer(self, record: Record) -> bool:
        """Whether the log answers what was said."""
        text, outcome = str(record.body["text"]), record.body["outcome"]
        if self.was_stopped and outcome == "stopped":
            return any(whole.startswith(text) for whole in self.expected)
        if self.was_too_dear:
            return outcome == "failed" and text == self.expected[0]
        return outcome == ("failed" if text == NOT_TOLD else "complete") and text in self.expected

    @property
    def starts(self) -> list[Record]:
        """Every time that a worker was chosen."""
        return [record for record in self.of("received", "started") if record.body.get("start") is not None]


def judge(house: House) -> list[str]:
    """What went wrong: nothing, or the seed has found something."""
    evidence = house.evidence
    faults = list(evidence.defects)
    said = _cases(house, faults)
    cases = [case for case in said if not case.was_refused]
    takes_over = house.while_running == "interrupt"
    _expect(cases, [case.said for case in said if case.is_stop or (takes_over and not case.is_word)])
    if house.while_running == "steer":
        _expect_joined(cases)
    by_turn = {case.turn: case for case in cases}
    for case in cases:
        if house.while_running == "steer" and case.of("superseded"):
            _judge_joined(case, by_turn, faults)
            continue
        _judge_turn(case, faults)
        _judge_screen(case, evidence, faults)
        _judge_work(case, house, faults)
        _judge_leave(case, house.asks, faults)
        _judge_attempts(case, evidence, faults)
    refused_once = _refused(house)
    _judge_order([case for case in cases if case.turn not in refused_once], faults)
    _judge_fence(evidence.log, faults)
    _judge_answers(cases, house.platform.presses, faults)
    _judge_money(evidence.log, house.cap, faults)
    _judge_seals(evidence.log, faults)
    return faults


def _cases(house: House, faults: list[str]) -> list[Case]:
    cases = {place: Case(said) for place, said in house.platform.said.items()}
    for bubble in house.platform.bubbles.values():
        case = cases.get((bubble.scope, bubble.reply_to))
        if case is None:
            faults.append(f"a bubble answers what nobody said: {bubble.texts[-1][:60]!r}")
        else:
            case.bubbles.append(bubble)
    turns: dict[str, Case] = {}
    for record in house.evidence.log:
        if not record.subject.startswith(SCOPES) or record.kind == "compacted":
            continue
        turn = str(record.body["turn"])
        if record.kind == "received":
            message = record.body["message"]
            found = cases.get((message["address"]["scope_id"], message["message_id"]))
            if found is None or message["text"] != found.said.question.text:
                faults.append(f"the log holds what nobody said: {message['text']!r}")
                continue
            turns[turn], found.turn = found, turn
        if turn not in turns:
            faults.append(f"record {record.sequence} ({record.kind}) is of a turn that was never received")
        else:
            turns[turn].records.append(record)
    by_name = {case.said.question.name: case for case in cases.values()}
    for at, process, name in house.evidence.calls:
        by_name[name].callers.append((at, process))
    for name in house.evidence.effects:
        by_name[name].effects += 1
    return list(cases.values())


def _expect(cases: list[Case], stops: list[Said]) -> None:
    """What each answer must be follows from what was said before it."""
    earlier: Counter[str] = Counter()
    for case in cases:
        scope = case.said.scope
        case.expected = answers(case.said.question, earlier[scope])
        if not case.is_hasty:
            earlier[scope] = 0 if case.is_word else earlier[scope] + 1
    for case in cases:
        for record in case.of("answered"):
            if is_too_dear(record):
                case.was_too_dear, case.expected = True, (str(record.body["text"]), *case.expected)
    for stop in stops:
        for case in cases:
            is_before = case.said.scope == stop.scope and case.said.update < stop.update
            # A hub may stop an answer and then find no room on the log for the word, or die, or be over.
            case.was_stopped |= is_before and not any(one.at < stop.at for one in case.of(*TERMINAL))


def _expect_joined(cases: list[Case]) -> None:
    """Where messages join an answer that grows, it answers them as well, one after the other."""
    for case in cases:
        if case.is_word:
            continue
        later = [one for one in cases if one.said.scope == case.said.scope and one.said.update > case.said.update]
        heard = [one for one in later if any(record.body["by"] == case.turn for record in one.of("superseded"))]
        case.expected = (PARAGRAPH.join(one.expected[0] for one in (case, *heard)),)
        # What another attempt has heard may have been on the screen.
        may_join = takewhile(lambda one: not one.is_word, later)
        case.chain = PARAGRAPH.join(script.answer(one.said.question, 0) for one in (case, *may_join))


def _judge_joined(case: Case, by_turn: dict[str, Case], faults: list[str]) -> None:
    """What joined another answer has none of its own, and that one is an answer to it."""
    (superseded, *_) = case.of("superseded")
    into = by_turn.get(str(superseded.body["by"]))
    if into is None or into.said.scope != case.said.scope or into.said.update > case.said.update:
        faults.append(f"{case}: lost, it joined {into}")
    if len(case.of("received")) != 1 or len(case.of(*TERMINAL)) != 1 or not case.said.is_confirmed:
        faults.append(f"{case}: joined {into}, and its records are {[record.kind for record in case.records]}")
    if case.bubbles or case.starts:
        faults.append(f"{case}: doubled, it joined {into} and was begun or shown by itself")


def _judge_turn(case: Case, faults: list[str]) -> None:
    """Lost or stuck: what was said is received once, answered once and closed once."""
    if not case.said.is_confirmed:
        faults.append(f"{case}: stuck, the spoke never took it")
    # What was refused for want of space may have been handed over again, by a spoke that died before it moved on.
    if set(case.said.refusals) - {"unavailable"}:
        faults.append(f"{case}: was refused: {case.said.refusals}")
    if len(case.of("received")) != 1:
        lost = case.said.is_confirmed and not case.records
        words = "lost, it was confirmed and is not on the log" if lost else "is not received once"
        faults.append(f"{case}: {words}")
        return
    terminal = case.of(*TERMINAL)
    if len(terminal) != 1:
        words = "stuck, no answer" if not terminal else f"ended {len(terminal)} times"
        faults.append(f"{case}: {words}: {[record.kind for record in case.records]}")
    for record in terminal:
        body = record.body
        if record.kind != "answered" or not case.is_answer(record):
            faults.append(f"{case}: the log says {record.kind} {body.get('outcome')} {body.get('text', '')[-80:]!r}")
    settled = case.of(*SETTLED)
    if terminal and len(settled) != 1:
        faults.append(f"{case}: stuck, {len(settled)} receipts: {[record.kind for record in case.records]}")
    if [record.kind for record in settled] == ["undeliverable"]:
        faults.append(f"{case}: was given up: {settled[0].body['reason']}")
    firsts = [found[0].sequence for kind in ("received", "answered", "shown") if (found := case.of(kind))]
    if sorted(firsts) != firsts:
        faults.append(f"{case}: its records stand in the wrong order")
    attempts = [record.body["start"]["attempt"] for record in case.starts]
    if attempts != list(range(1, len(attempts) + 1)):
        faults.append(f"{case}: its attempts are {attempts}")


def _judge_screen(case: Case, evidence: Evidence, faults: list[str]) -> None:
    """Doubled: the answer stands there once in full, and what else there is holds the opening words at most."""
    whole = [bubble for bubble in case.bubbles if bubble.texts[-1] == case.answer]
    if len(whole) != 1:
        ends = [bubble.texts[-1][-60:] for bubble in case.bubbles]
        faults.append(f"{case}: its answer stands on the screen {len(whole)} times: {ends}")
    opened = case.of("opened")
    if len(opened) > 1:
        faults.append(f"{case}: the log knows {len(opened)} bubbles")
    if whole and opened and opened[0].body["message_id"] != whole[0].message:
        faults.append(f"{case}: the log's bubble is not the one with the answer")
    dead = {process for _, process in evidence.killed}
    for bubble in case.bubbles:
        for text in bubble.texts:
            if text != PLACEHOLDER and not any(whole.startswith(text) for whole in (*case.expected, case.chain)):
                faults.append(f"{case}: the screen showed what is no part of the answer: {text[-80:]!r}")
        if bubble in whole:
            continue
        if len(bubble.texts) > 1 or len(bubble.texts[0]) > OPENING:
            faults.append(f"{case}: doubled, a second bubble holds more than the opening words")
        # Between the platform's "sent" and the note a bubble can be lost, by a death or with the platform's answer.
        if bubble.is_known and bubble.by not in dead:
            faults.append(f"{case}: doubled, a second bubble, though the spoke that sent it lived on and knew of it")


def _judge_work(case: Case, house: House, faults: list[str]) -> None:
    """Every attempt asks the model as often as it must and no more, and an effect never happens twice."""
    needed = calls(case.said.question)
    if house.while_running == "steer":
        # An attempt that is lost may have asked for what another answers.
        if case.of("answered") and len(case.callers) < needed:
            faults.append(f"{case}: answered with {len(case.callers)} model calls")
        return
    if case.starts and len(case.callers) > needed * len(case.starts):
        faults.append(f"{case}: {len(case.callers)} model calls in {len(case.starts)} attempts")
    if case.of("answered") and len(case.callers) < needed and not case.was_stopped and not case.was_too_dear:
        faults.append(f"{case}: answered with {len(case.callers)} model calls")
    for worker, times in Counter(process for _, process in case.callers).items():
        mine = sum(1 for record in case.starts if record.body["start"]["worker"] == worker.name.partition(".")[0])
        if times > needed * mine:
            faults.append(f"{case}: {times} model calls by {worker}, which was told {mine} times")
    if case.said.question.kind != "tool" or case.is_word:
        return
    if case.effects > 1:
        faults.append(f"{case}: doubled, its tool had {case.effects} effects")
    if case.effects and not case.of("tool started"):
        faults.append(f"{case}: its tool had an effect that was not noted before")
    # What was allowed may be too late all the same, where a clock was set.
    is_allowed = not house.asks or (bool(case.of("tool started")) and not house.has_jumped)
    if case.effects == 0 and len(case.starts) == 1 and not case.was_stopped and is_allowed:
        faults.append(f"{case}: lost, its tool had no effect, and no attempt was lost")


def _judge_leave(case: Case, asks: bool, faults: list[str]) -> None:
    """What acts outside is asked about once and decided once, and begins when it is allowed."""
    codes = {record.body["code"] for record in case.of("asked")}
    decisions = {
        (body["code"], body["approved"]) for body in (one.body for one in case.records if one.kind == "decided")
    }
    if len(codes) > 1 or len(decisions) > 1 or not {code for code, _ in decisions} <= codes:
        faults.append(f"{case}: asked as {sorted(codes)} and decided as {sorted(decisions)}")
    for begun in case.of("tool started") if asks else ():
        if not any(one.body["approved"] and one.sequence < begun.sequence for one in case.of("decided")):
            faults.append(f"{case}: its tool was begun at {begun.sequence} without leave")


def _judge_answers(cases: list[Case], presses: list[Press], faults: list[str]) -> None:
    """Who was told that their answer counts finds it on the log."""
    decided = {body["code"]: bool(body["approved"]) for case in cases if (body := case.decided) is not None}
    over = {record.body["code"]: case.of("decided", *TERMINAL) for case in cases for record in case.of("asked")}
    heard = [(press.asked.code, press.approved) for press in presses if None in press.told]
    for case in cases:
        word = case.said.question
        if isinstance(word, Word) and any(one.body["text"] in (GRANTED, DENIED) for one in case.of("answered")):
            heard.append((word.code, word.command == "/approve"))
        if isinstance(word, Word) and word.code:
            for one in case.of("answered"):
                if one.body["text"] == GONE and not any(end.at <= one.at for end in over[word.code]):
                    faults.append(f"{case}: was told that nothing is asked, and {word.code} was")
    faults += [
        f"{code}: was told {said}, and the log says {decided.get(code)}"
        for code, said in heard
        if decided.get(code) is not said
    ]
    for press in presses:
        if strange := set(press.told) - {None, *LATE}:
            faults.append(f"{press.asked.code}: who pressed was told {sorted(map(str, strange))}")


def _judge_attempts(case: Case, evidence: Evidence, faults: list[str]) -> None:
    """A model is asked anew only where the first one's worker was killed, or was out of reach for a while."""
    for before, after in pairwise(case.starts):
        worker = before.body["start"]["worker"]
        if any(before.at <= at < after.at for at, _ in case.callers) and not any(
            trouble.whose in ("", worker) and trouble.begin < after.at and before.at < trouble.end + SILENCE
            for trouble in evidence.troubles
        ):
            why = after.body["start"].get("why")
            faults.append(f"{case}: doubled, was begun again though {worker} lived on within reach: {why}")


def _refused(house: House) -> set[str]:
    """The turns that there was once no room for: who is told so may say it again, after what came meanwhile."""
    payloads = (json.loads(entry.payload) for entries in house.bus.turned_away for entry in entries)
    return {payload["turn"] for payload in payloads if payload.get("kind") == "received"}


def _judge_order(cases: list[Case], faults: list[str]) -> None:
    """Out of order: in every scope bubbles and turns come in the order of the questions, one turn after the other."""
    scopes: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if not case.is_hasty:
            scopes[case.said.scope].append(case)
    for of_scope in scopes.values():
        for before, after in pairwise(of_scope):
            if before.bubbles and after.bubbles and before.bubbles[0].number > after.bubbles[0].number:
                faults.append(f"{after}: out of order, its bubble came before that of {before}")
            received = [case.of("received")[0].sequence for case in (before, after) if case.of("received")]
            if sorted(received) != received:
                faults.append(f"{after}: out of order, it was accepted before {before}")
            for kind in ("answered", "opened"):
                ended = before.of(kind)
                if after.starts and ended and after.starts[0].sequence < ended[0].sequence:
                    faults.append(f"{after}: out of order, it was begun before {before} was {kind}")


def _judge_fence(log: list[Record], faults: list[str]) -> None:
    """Every record names the reign that was the last when it was stored, and every seal the one before it."""
    owners: dict[int, int] = {}
    chains: dict[str, int] = {}
    for record in log:
        if record.kind in ("seal", "purse"):
            if record.fence != (record.subject, chains.get(record.subject, 0)):
                last = chains.get(record.subject, 0)
                faults.append(f"{record.kind} {record.sequence} names {record.fence}, not {last}")
            chains[record.subject] = record.sequence
            continue
        if record.fence == (RECKONED, 0) == (record.subject, chains.get(RECKONED, 0)):
            # Whoever keeps accounts first does so before it reigns anywhere.
            chains[RECKONED] = record.sequence
            continue
        if record.subject.startswith(EPOCHS):
            owners[int(record.subject.removeprefix(EPOCHS))] = record.sequence
            continue
        part = _fenced_by(record)
        if record.fence != (f"{EPOCHS}{part}", owners.get(part)):
            faults.append(f"record {record.sequence} ({record.kind}) names {record.fence}, not {owners.get(part)}")


def _fenced_by(record: Record) -> int:
    """The partition whose reign a record must name; what is of no partition, any that its writer has."""
    if record.subject.startswith(SCOPES):
        return _partition(record.subject)
    if record.subject.startswith(MARKS):
        return int(record.subject.removeprefix(MARKS))
    return int(record.fence[0].removeprefix(EPOCHS)) if record.fence is not None else 0


def is_too_dear(record: Record) -> bool:
    """Whether somebody was told that the purse is empty."""
    is_no = record.kind == "answered" and record.body["outcome"] == "failed"
    return is_no and str(record.body["text"]).startswith(f"The budget “{PURSE}”")


def _judge_money(log: list[Record], cap: Decimal | None, faults: list[str]) -> None:
    """What is reserved and what was spent is never more than there is, whichever hubs gave it away."""
    held: dict[tuple[str, int, str], Decimal] = {}
    ended: set[str] = set()
    for record in log:
        body = record.body
        if cap is not None and is_too_dear(record) and sum(held.values()) + MOST <= cap:
            faults.append(
                f"{record.kind} {record.sequence}: is too dear, with {sum(held.values())} of {cap} given away"
            )
        if record.kind in TERMINAL:
            ended.add(str(body["turn"]))
        # Who asked for money while the turn was stopped calls nobody with it.
        if cap is None or record.kind not in ("reserved", "settled") or body["turn"] in ended:
            continue
        call = body["turn"], body["attempt"], body["call"]
        if record.kind == "reserved":
            held.setdefault(call, Decimal(body["amount"]))
        elif body.get("amount") is not None:
            held[call] = Decimal(body["amount"])
        if sum(held.values()) > cap:
            faults.append(f"{record.kind} {record.sequence}: {sum(held.values())} are given away of {cap}")


def _judge_seals(log: list[Record], faults: list[str]) -> None:
    """Each seal follows the one before it and tells of what is there; what a seal reaches over is told by one."""
    stored = {record.sequence: record for record in log}
    chains: dict[str, Record] = {}
    told: set[int] = set()
    for record in log:
        if not record.subject.startswith(SEALS):
            continue
        before = chains.get(record.subject)
        sequence = before.sequence if before is not None else 0
        digest = sha256(before.data).hexdigest() if before is not None else "0" * 64
        number = before.body["number"] + 1 if before is not None else 1
        if (record.body["number"], record.body["before"], record.fence) != (number, digest, (record.subject, sequence)):
            faults.append(f"seal {record.sequence} does not follow the seal at {sequence}")
        chains[record.subject] = record
        for one in record.body["sealed"]:
            for at, _ in one["records"]:
                told.add(at)
                if at not in stored or stored[at].subject != one["subject"]:
                    faults.append(f"seal {record.sequence} tells of {at}, which is no record of {one['subject']}")
    bodies = {stored[at].data for at in told if at in stored}
    for record in log:
        seal = chains.get(f"{SEALS}{_partition(record.subject)}") if record.subject.startswith(SCOPES) else None
        # A late copy of a record is told by that one's seal.
        is_reached = seal is not None and record.sequence <= seal.body["through"]
        if is_reached and record.sequence not in told and record.data not in bodies:
            faults.append(f"no seal tells of record {record.sequence} ({record.kind})")


@lru_cache(maxsize=64)
def _partition(subject: str) -> int:
    return crc32(unquote(subject.rsplit(".", 1)[1]).encode()) % subjects.PARTITIONS
