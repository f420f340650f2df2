"""What is a skill, what is none, and how an agent reads one."""

import json
import os
import stat
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tools.skills import MAX_BYTES, MAX_DEPTH, MAX_FILES, SkillError, Skills, lines, load
from factory_contracts.work import AgentSpec
from hub.kernel.harness import MAX_OBSERVATION
from hub.kernel.ports import Equipped, Occasion, ToolFailed
from tests.fakes import words_of

FRONT = "---\nname: {}\ndescription: How an invoice is written.\n---\n"


def write(folder: Path, name: str = "invoices", text: str | None = None, **files: str) -> Path:
    """A skill in a folder of skills."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "SKILL.md").write_text(FRONT.format(name) + "Do it well.\n" if text is None else text)
    for path, content in files.items():
        (folder / name / path).write_text(content)
    return folder / name


def agent(*skills: str) -> AgentSpec:
    return AgentSpec(name="ann", hash="1", model="scripted", namespace="ann", skills=skills)


async def read(tool: Equipped, who: AgentSpec, **arguments: object) -> str:
    return await words_of(tool, json.dumps(arguments), Occasion("turn", "call", "scope", "user", who))


def test_a_skill_is_loaded_with_all_its_texts(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"prices.csv": "a,b\n", ".hidden": "no"})
    (folder / "references" / "deep").mkdir(parents=True)
    (folder / "references" / "deep" / "law.md").write_text("§ 1")
    (folder / "logo.png").write_bytes(b"\x89PNG\0\xff")
    (folder / "table").write_bytes(b"a\0b")

    skill = load(tmp_path, "invoices")

    assert (skill.name, skill.description) == ("invoices", "How an invoice is written.")
    assert skill.files == {
        "SKILL.md": FRONT.format("invoices") + "Do it well.\n",
        "prices.csv": "a,b\n",
        "references/deep/law.md": "§ 1",
    }


@pytest.mark.parametrize(
    "text",
    [
        "---\nname: invoices\ndescription: One: two.\n---\n",
        "---\r\nname: invoices\r\ndescription: One: two.\r\n---\r\n",
        "\ufeff---\nname: invoices\ndescription: One: two.\n---",
        "---\nname: \"invoices\"\ndescription: 'One: two.'\n---\n",
        "---\ndescription: >-\n  One:\n  two.\nname: invoices\n---\n",
        "---\n# a remark\n\nname: invoices\nallowed-tools:\n- Read\n  - Write\ndescription: One:\n  two.\n---\n",
        "--- \nname:   invoices  \ndescription:\tOne:   two.\n--- \nname: another\n",
    ],
)
def test_what_a_skill_says_of_itself_may_be_set_in_many_ways(tmp_path: Path, text: str) -> None:
    write(tmp_path, text=text)

    assert load(tmp_path, "invoices").description == "One: two."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with a line '---'"),
        ("Do it well.\n", "must begin with a line '---'"),
        (" ---\nname: invoices\n", "must begin with a line '---'"),
        ("---\nname: invoices\ndescription: x\n", "second line '---' is missing"),
        ("---\nname: invoices\n---\n", "description: is missing"),
        ("---\nname: invoices\ndescription:\n---\n", "description: is missing"),
        ("---\nname: invoices\ndescription: '  '\n---\n", "description: is missing"),
        ("---\ndescription: x\n---\n", "name: is missing"),
        ("---\nname: bills\ndescription: x\n---\n", "'bills', and the folder is called 'invoices'"),
        ("---\nname: Invoices\ndescription: x\n---\n", "'Invoices', and the folder"),
        ("---\nname: invoices\nname: invoices\n---\n", "line 3: name: stands there twice"),
        ("---\nname invoices\n---\n", "line 2: is no 'key: value'"),
        (f"---\nname: invoices\ndescription: {'x' * 2_000}\n---\n", "description: has 2,000 characters"),
        ("---\nname: invoices\ndescription: x\U000e0041\n---\n", "cannot be seen"),
        ("---\nname: invoices\ndescription: \x1b[31mx\n---\n", "cannot be seen"),
        (FRONT.format("invoices") + "\0", "NUL"),
    ],
)
def test_what_is_no_skill_is_told_with_its_file(tmp_path: Path, text: str, reason: str) -> None:
    folder = write(tmp_path, text=text)

    with pytest.raises(SkillError) as failed:
        load(tmp_path, "invoices")

    assert reason in str(failed.value)
    assert str(failed.value).startswith(f"{folder / 'SKILL.md'}: ")


@pytest.mark.parametrize("name", ["", ".", "..", "../invoices", "a/b", "Invoices", "x" * 33, "a\0b", "/etc", "ünder"])
def test_a_name_that_is_none_is_not_looked_for(tmp_path: Path, name: str) -> None:
    write(tmp_path)

    with pytest.raises(SkillError, match="no name of a skill"):
        load(tmp_path, name)


def test_what_is_not_there_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    for name, reason in (("gone", "No such file"), ("empty", "SKILL.md: does not exist"), ("file", "Not a directory")):
        with pytest.raises(SkillError, match=f"{name}.*{reason}"):
            load(tmp_path, name)
    with pytest.raises(SkillError, match="No such file"):
        load(tmp_path / "nowhere", "gone")


def test_the_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "SKILL.md").write_bytes(FRONT.format("invoices").encode() + b"K\xf6ln")

    with pytest.raises(SkillError, match=r"SKILL\.md: is not UTF-8 text"):
        load(tmp_path, "invoices")


@pytest.mark.parametrize("where", ["invoices", "invoices/SKILL.md", "invoices/other.md", "invoices/folder"])
def test_a_link_in_a_skill_is_refused_whatever_it_leads_to(tmp_path: Path, where: str) -> None:
    write(tmp_path / "skills")
    write(tmp_path / "elsewhere", "invoices", secret="what nobody may see")
    link = tmp_path / "skills" / where
    if link.is_dir():
        link.rename(tmp_path / "before")
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "elsewhere" / ("invoices/SKILL.md" if link.suffix else "invoices"))

    with pytest.raises(SkillError, match="is a link"):
        load(tmp_path / "skills", "invoices")


def test_what_is_no_ordinary_file_is_refused_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    folder = write(tmp_path)
    os.mkfifo(folder / "pipe", 0o600)
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)

    with pytest.raises(SkillError, match="pipe: is no ordinary file"):
        load(tmp_path, "invoices")


def test_a_skill_that_was_installed_by_hard_links_is_one(tmp_path: Path) -> None:
    os.link(write(tmp_path) / "SKILL.md", tmp_path / "the cache of an installer")

    assert load(tmp_path, "invoices").name == "invoices"


def test_a_skill_that_holds_too_much_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "many", **{f"{number}.md": "" for number in range(MAX_FILES)})
    write(tmp_path, "large", **{"large.txt": "x" * MAX_BYTES})
    (write(tmp_path, "deep") / "/".join("d" * (MAX_DEPTH + 1))).mkdir(parents=True)
    write(tmp_path, "named", **{"two\nlines": ""})

    for name, reason in (("many", "too much"), ("large", "too much"), ("deep", "too deep"), ("named", "cannot be sh")):
        with pytest.raises(SkillError, match=f"{name}/.*{reason}|{name}: .*{reason}"):
            load(tmp_path, name)


def test_the_digest_is_of_all_that_a_skill_holds(tmp_path: Path) -> None:
    folder = write(tmp_path, a="1", b="2")
    first = load(tmp_path, "invoices").digest
    assert load(tmp_path, "invoices").digest == first

    (folder / "a").rename(folder / "c")
    renamed = load(tmp_path, "invoices").digest
    (folder / "picture").write_bytes(b"\0")

    assert len({first, renamed, load(tmp_path, "invoices").digest}) == 3


@given(st.text(max_size=200) | st.text(max_size=200).map(lambda text: f"---\nname: invoices\n{text}\n---\n"))
def test_any_text_is_a_skill_or_an_error_that_says_why(text: str) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "invoices").mkdir()
        (Path(folder) / "invoices" / "SKILL.md").write_bytes(text.encode())
        try:
            description = load(Path(folder), "invoices").description
            assert description and description.isprintable()
        except SkillError as failed:
            assert "SKILL.md: " in str(failed)


def test_an_agent_is_told_of_its_skills_in_a_line_each(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "bills")

    told = lines((load(tmp_path, "invoices"), load(tmp_path, "bills")))

    first, *each = told.splitlines()
    assert "read_skill" in first
    assert each == ["- invoices: How an invoice is written.", "- bills: How an invoice is written."]
    assert lines(()) == ""


async def test_an_agent_reads_its_skills_and_no_others(tmp_path: Path) -> None:
    write(tmp_path, **{"prices.csv": "a,b\n"})
    write(tmp_path, "bills")
    write(tmp_path, "secrets")
    who = agent("invoices", "bills")

    (tool,) = await Skills(tmp_path).tools(who)

    assert (tool.spec.name, tool.spec.effect, tool.spec.is_idempotent) == ("read_skill", "read", True)
    whole = await read(tool, who, name="invoices")
    assert whole.startswith("---\nname: invoices") and whole.endswith("[other files of this skill: prices.csv]")
    assert await read(tool, who, name="invoices", file="./prices.csv") == "a,b\n"
    assert (await read(tool, who, name="bills")).endswith("Do it well.\n")
    for name in ("secrets", "../secrets", "", "invoices/../secrets", "\ud800"):
        with pytest.raises(ToolFailed, match="there is: invoices, bills") as failed:
            await read(tool, who, name=name)
        assert str(failed.value).encode()
    with pytest.raises(ToolFailed, match="there is: bills"):
        await read(tool, agent("bills"), name="invoices")


@pytest.mark.parametrize(
    "file", ["", ".", "nowhere.md", "../secrets/SKILL.md", "/etc/passwd", "SKILL.md\0", "prices.csv/..", "\ud800"]
)
async def test_no_file_is_read_but_those_that_were_loaded(tmp_path: Path, file: str) -> None:
    write(tmp_path, **{"prices.csv": "a,b\n"})
    write(tmp_path, "secrets")
    (tool,) = await Skills(tmp_path).tools(agent("invoices"))

    with pytest.raises(ToolFailed, match=r"it has: SKILL\.md, prices\.csv") as failed:
        await read(tool, agent("invoices"), name="invoices", file=file)

    assert str(failed.value).encode()


async def test_a_skill_stays_as_it_was_until_the_agent_is_another(tmp_path: Path) -> None:
    folder = write(tmp_path)
    skills, who = Skills(tmp_path), agent("invoices")
    await skills.tools(who)

    (folder / "SKILL.md").unlink()
    (folder / "SKILL.md").symlink_to("/etc/passwd")
    (tool,) = await skills.tools(who)

    assert "Do it well." in await read(tool, who, name="invoices")
    assert await skills.tools(who.model_copy(update={"hash": "2"})) == ()


async def test_a_long_text_is_read_in_parts(tmp_path: Path) -> None:
    text = FRONT.format("invoices") + "".join(f"line {number}\n" for number in range(20_000))
    write(tmp_path, text=text, **{"one.txt": "x" * 500_000 + "\nend", "other.txt": ""})
    who = agent("invoices")
    (tool,) = await Skills(tmp_path).tools(who)
    note = "\n\n[other files of this skill: one.txt, other.txt]"

    whole, start = "", 1
    while start:
        shown = await read(tool, who, name="invoices", start_line=start)
        assert len(shown) <= MAX_OBSERVATION and shown.endswith(note)
        shown, _, mark = shown.removesuffix(note).rpartition("[the file goes on: start_line=")
        whole += shown or mark
        start = int(mark.split()[0]) if shown else 0

    assert whole == text
    assert "line 1 is too long" in await read(tool, who, name="invoices", file="one.txt")
    assert await read(tool, who, name="invoices", file="one.txt", start_line=2) == "end"
    assert "fewer than 9 lines" in await read(tool, who, name="invoices", file="one.txt", start_line=9)
    with pytest.raises(ToolFailed, match="from 1 on"):
        await read(tool, who, name="invoices", start_line=0)


async def test_a_skill_that_cannot_be_read_is_logged_and_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    write(tmp_path, "broken", text="nothing")

    (tool,) = await Skills(tmp_path).tools(agent("broken", "invoices", "gone"))

    assert "Do it well." in await read(tool, agent("invoices"), name="invoices")
    assert "broken/SKILL.md: must begin" in caplog.text and "gone: cannot be read" in caplog.text
    assert await Skills(tmp_path).tools(agent("gone")) == ()
    assert await Skills(tmp_path).tools(agent()) == ()


@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc shows")
def test_nothing_stays_open(tmp_path: Path) -> None:
    write(tmp_path, **{"a.md": "text"})
    (write(tmp_path, "broken") / "link").symlink_to("/etc/passwd")
    before = len(os.listdir("/proc/self/fd"))

    load(tmp_path, "invoices")
    for name in ("broken", "gone"):
        with pytest.raises(SkillError):
            load(tmp_path, name)

    assert len(os.listdir("/proc/self/fd")) == before
