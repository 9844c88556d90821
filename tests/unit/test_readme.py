"""What the README tells people to type exists: commands, options, files, settings, code. Nothing of it is run here."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from jobs.cli import cli
from jobs.config import Config

ROOT: Final = Path(__file__).resolve().parent.parent.parent
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES: Final = "\n".join(
    file.read_text(encoding="utf-8")
    for folder in ("infra", "jobs", "sql", "tests")
    for file in sorted((ROOT / folder).rglob("*.md"))
)
"""What has a page of its own beside the code."""
SEPARATORS: Final = frozenset({"|", "||", "&&", ";", "&"})
# Options whose value must be a file that is there when the command line is parsed.
FILE_OPTIONS: Final = frozenset({"--config", "--file", "--requirements", "--ticks"})


def blocks(language: str, text: str = README + PAGES) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def words(line: str) -> list[str]:
    """The words of a shell line, separators of commands among them, comments left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    return list(lexer)


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of shell text, as words."""
    for line in text.replace("\\\n", " ").splitlines():
        command: list[str] = []
        for word in [*words(line), ";"]:
            if word not in SEPARATORS:
                command.append(word)
            elif command:
                yield command
                command = []


TYPED: Final = [command for block in blocks("bash") for command in commands(block)]
# Commands that running text speaks of; it may leave their arguments out.
MENTIONED: Final = [
    shlex.split(code) for code in re.findall(r"`((?:tradestream \w|\./infra/\w)[^`\n]*)`", README + PAGES)
]


def lines_of(program: str, found: list[list[str]]) -> list[str]:
    """The different command lines of a program, as text."""
    return sorted({shlex.join(command) for command in found if command[0].startswith(program)})


def parse(arguments: list[str]) -> None:
    """Parse a command line of `tradestream` as click does before it runs anything. Raises click.UsageError."""
    command: click.Command = cli
    parent: click.Context | None = None
    name = "tradestream"
    while True:
        try:
            context = command.make_context(name, arguments, parent=parent)
        except click.exceptions.Exit:
            return  # --help
        if not isinstance(command, click.Group):
            return
        rest = [*getattr(context, "_protected_args", []), *context.args]
        found, inner, arguments = command.resolve_command(context, rest)
        assert inner is not None and found is not None
        command, parent, name = inner, context, found


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with room above it."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def make_files(arguments: list[str], folder: Path) -> None:
    """Make the files that a command line names, where they are examples only."""
    for option, value in itertools.pairwise(arguments):
        if option in FILE_OPTIONS and not Path(value).is_absolute():
            (folder / value).parent.mkdir(parents=True, exist_ok=True)
            (folder / value).touch()


def test_readme_names_the_commands_of_the_command_line() -> None:
    with click.Context(cli) as context:
        missing = [
            name
            for name in cli.list_commands(context)
            if not re.search(rf"tradestream (\S+ )*{name}\b", README + PAGES)
        ]
    # `demo` is `./infra/demo`.
    assert missing in ([], ["demo"])


@pytest.mark.parametrize("line", lines_of("tradestream", TYPED))
def test_command_of_the_readme_parses(line: str, elsewhere: Path) -> None:
    _, *arguments = shlex.split(line)
    make_files(arguments, elsewhere)
    parse(arguments)


@pytest.mark.parametrize("line", lines_of("tradestream", MENTIONED))
def test_command_that_the_readme_mentions_exists(line: str, elsewhere: Path) -> None:
    with contextlib.suppress(click.MissingParameter):
        parse(shlex.split(line)[1:])


@pytest.mark.parametrize(
    "line", ["tail nbbo --from-the-start", "produce simulate --order 1", "stack upwards", "submit", "demo --speed fast"]
)
def test_command_that_does_not_exist_is_seen(line: str, elsewhere: Path) -> None:
    with pytest.raises(click.UsageError):
        parse(shlex.split(line))


@pytest.mark.parametrize("line", lines_of("./", TYPED + MENTIONED))
def test_script_of_the_readme_is_there(line: str) -> None:
    script, *arguments = shlex.split(line)
    assert os.access(ROOT / script, os.X_OK), f"{script} is not an executable file"
    if script == "./infra/demo":
        parse(["demo", *arguments])
    for argument in arguments:
        if argument.startswith("tests/"):
            assert (ROOT / argument).exists(), f"{argument} does not exist"


def test_settings_of_the_readme_exist(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    secret = tmp_path / "secret"
    secret.write_text("x")
    file = tmp_path / "tradestream.toml"
    file.write_text(re.sub(r'(password_file = )".*"', rf'\1"{secret}"', text))
    config = Config.load(config_file=file, environment={})
    assert config.profile == tomllib.loads(text)["profile"] == "production"
    names = set(re.findall(r"TRADESTREAM_[A-Z_]*[A-Z]", README + PAGES)) - {"TRADESTREAM_CONFIG"}
    environment = dict.fromkeys(names, "broker:9092")
    assert Config.load(environment=environment).ignored_environment == ()


def test_python_of_the_readme_compiles() -> None:
    for number, block in enumerate(blocks("python"), 1):
        compile(block, f"README.md, Python block {number}", "exec")


def test_files_in_backticks_of_the_readme_are_there() -> None:
    named = set(re.findall(r"`((?:infra|jobs|schemas|sql|tests|udfs)/[\w./-]+)`", README + PAGES))
    assert not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
