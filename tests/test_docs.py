"""The documents say what is: links, settings, commands, metrics and files that they name are there."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from claimbus.cli.commands import COMMANDS, load
from claimbus.cli.development import COMMANDS as DEV_COMMANDS
from claimbus.cli.receive import SECRETS
from claimbus.cli.settings import ALSO, Settings, lines

ROOT: Final = Path(__file__).parent.parent
DOCUMENTS: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
DEPLOYMENT: Final = (
    ROOT / "compose.yaml",
    *sorted(path for path in (ROOT / "deploy").iterdir() if path.is_file()),
)
SOURCES: Final = tuple(
    path
    for package in ("claimbus", "claimstore", "producers", "consumers")
    for path in sorted((ROOT / package).rglob("*"))
    if path.suffix in (".py", ".html")
)

OF_A_COMMAND: Final = {"CLAIMBUS_MESSAGE_ID", "CLAIMBUS_ATTEMPT", "CLAIMBUS_REPLAY"}
"""What `--exec` puts into the environment of its command."""

OF_A_UNIT: Final = {"CLAIMBUS_URL", "CLAIMBUS_ENDPOINT"}
"""What `deploy/claimbus-subscribe.service` reads from its own file."""

FENCED: Final = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`([^`\n]+)`")
TYPED: Final = re.compile(r"^(?:\./dev )?claimbus ")
ELLIPSIS: Final = "…"


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=names)
def test_every_link_leads_somewhere(document: Path) -> None:
    prose = FENCED.sub("", document.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            place = (document.parent / file).resolve() if file else document
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("document", [*DOCUMENTS, *DEPLOYMENT], ids=names)
def test_every_variable_that_is_named_is_read(document: Path) -> None:
    known = {line.variable for line in lines(Settings())} | ALSO | {SECRETS} | OF_A_COMMAND | OF_A_UNIT
    assert set(re.findall(r"CLAIMBUS_[A-Z_]+[A-Z]", document.read_text())) <= known


def test_every_setting_is_in_the_reference_as_the_command_shows_it() -> None:
    rows = [
        tuple(cell.strip().strip("`") for cell in row.strip("|").split("|"))
        for row in re.findall(r"^\| `CLAIMBUS_.*\|$", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    ]
    assert rows == [(line.variable, line.default, line.meaning) for line in lines(Settings())]


def commands_in(text: str) -> Iterator[list[str]]:
    """Give the words of each command of ours that fenced blocks show, lines that go on joined."""
    for block in FENCED.finditer(text):
        if block["language"] in ("", "sh"):
            for line in re.sub(r"[\\^]\n\s*", "", block["text"]).splitlines():
                if TYPED.match(line):
                    yield words_of(line)


def words_of(line: str) -> list[str]:
    words = shlex.split(TYPED.sub("", line), comments=True)
    return words[: words.index("&&")] if "&&" in words else words


def named(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the words call, and the words behind its name."""
    assert words[0] in COMMANDS, words
    command, rest = load(words[0]), words[1:]
    while subcommands := getattr(command, "commands", None):
        if not rest:
            break
        assert rest[0] in subcommands, words
        command, rest = subcommands[rest[0]], rest[1:]
    return command, rest


def parse(words: list[str], *, whole: bool) -> None:
    """Have the words parsed without looking anything up; ``whole``: with all that must be given."""
    command, rest = named(words)
    if hasattr(command, "commands"):
        assert not whole, f"{words} is no command yet"
        return
    context = command.context_class(command, info_name=words[0])
    given, left, _ = command.make_parser(context).parse_args(args=list(rest))
    assert left == [], f"{words}: nothing takes {left}"
    for parameter in command.params:
        value = given.get(parameter.name)
        missing = not value
        assert not (whole and missing and parameter.required), f"{words}: {parameter.name} is missing"


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_every_command_that_is_shown_can_be_typed(document: Path) -> None:
    text = document.read_text()
    for words in commands_in(text):
        parse(words, whole=not any(ELLIPSIS in word for word in words))
    for code in INLINE.findall(FENCED.sub("", text)):
        if TYPED.match(code):
            parse(words_of(code), whole=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_every_command_of_dev_that_is_shown_is_there(document: Path) -> None:
    assert set(re.findall(r"\./dev ([a-z]+)", document.read_text())) <= DEV_COMMANDS.keys()


def test_every_command_that_a_message_or_a_page_says_to_type_is_there() -> None:
    """In messages a command stands in quotes; what depends on the case stands in braces."""
    said = re.compile(r"['“]claimbus ([a-z][^'”\n]*)['”]|<pre[^>]*>claimbus ([^<]+)</pre>")
    for path in SOURCES:
        for quoted, shown in said.findall(path.read_text()):
            line = re.sub(r"\{+[^}]*\}+", "X", shown or quoted)
            parse(shlex.split(line), whole=bool(shown))


def metrics_in_code() -> set[str]:
    """Return the names that Prometheus sees: counters end in ``_total`` there."""
    found = set()
    for path in SOURCES:
        if path.suffix != ".py":
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant)):
                continue
            function = call.func
            kind = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            name = str(call.args[0].value)
            if kind in ("_counter", "_gauge"):
                name = f"claimbus_{name}"
            if kind.strip("_").lower() in ("counter", "gauge", "histogram") and name.startswith("claimbus_"):
                found.add(f"{name}_total" if kind.strip("_").lower() == "counter" else name)
    return found


def test_every_metric_is_documented_and_every_documented_metric_is_there() -> None:
    in_code = metrics_in_code()
    assert len(in_code) > 20
    assert (
        in_code - set(re.findall(r"claimbus_[a-z_]+[a-z]", (ROOT / "docs/operating.md").read_text())) == set()
    )
    told = {
        name for path in DOCUMENTS for name in re.findall(r"`(claimbus_[a-z_]+[a-z])[`{]", path.read_text())
    }
    assert told - in_code == set()


def test_every_file_and_test_that_is_named_is_there() -> None:
    named_file = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|service|yaml|conf|example))?(::\w+)?`")
    for document in DOCUMENTS:
        last = ""
        for file, test in named_file.findall(document.read_text()):
            if not (file or test):
                continue
            last = file or last
            places = [place for place in (ROOT / last, ROOT / "tests" / last) if place.exists()]
            assert places, f"{names(document)}: {last}"
            assert not test or f"def {test[2:]}(" in places[0].read_text(), f"{names(document)}: {last}{test}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_every_name_that_python_examples_import_is_there(document: Path) -> None:
    for block in FENCED.finditer(document.read_text()):
        if block["language"] == "python":
            tree = ast.parse(block["text"])
            imports: list[ast.stmt] = [
                one for one in ast.walk(tree) if isinstance(one, ast.Import | ast.ImportFrom)
            ]
            exec(compile(ast.Module(imports, []), names(document), "exec"), {})
