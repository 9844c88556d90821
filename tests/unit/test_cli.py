"""The command line as a whole: help, settings and their precedence, exit codes, what is imported when."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from jobs import cli as cli_module
from jobs.cli import COMMANDS, cli
from jobs.cli_common import CliError, confirm, duration, parse_settings, size


def _commands() -> Iterator[tuple[str, ...]]:
    """Every command and subcommand, as the words that call it."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        yield (name,)
        command = cli.get_command(context, name)
        if isinstance(command, click.Group) and command.name != "stack":
            yield from ((name, sub) for sub in command.commands)


def _run(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Result:
    return CliRunner(env=env).invoke(cli, list(words))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the developer's machine reach a test."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRADESTREAM_CONFIG", "TRADESTREAM_KAFKA_BOOTSTRAP", "TRADESTREAM_PROFILE", "TRADESTREAM_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("words", list(_commands()), ids=" ".join)
def test_help_of_every_command_renders_with_summary_and_example(words: tuple[str, ...]) -> None:
    result = _run(*words, "--help")

    assert result.exit_code == 0, result.output
    assert f"Usage: cli {' '.join(words)}" in result.output
    if words[0] not in ("stack", "migrate"):
        assert "Example" in result.output
        example = result.output.split("Example")[1]
        assert "tradestream" in example
        assert words[-1] in example or len(words) == 1


def test_root_help_lists_every_command_that_is_there_with_its_summary() -> None:
    result = _run("--help")

    for section, mounts in COMMANDS.items():
        present = [name for name, mount in mounts.items() if name in cli.list_commands(click.Context(cli))]
        assert not present or f"{section}:" in result.output
        for name in present:
            assert mounts[name].summary[:40] in result.output


def test_root_help_imports_none_of_the_slow_libraries() -> None:
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from jobs.cli import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "slow = {'pyflink', 'kafka', 'confluent_kafka', 'fastavro', 'pyarrow', 'pandas', 'clickhouse_connect'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    root = Path(cli_module.__file__).parents[1]

    output = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"


def test_absent_optional_module_hides_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = cli_module._Mount("jobs.no_such_module", "nothing", "Nothing.")
    monkeypatch.setitem(COMMANDS, "Trials", {"nothing": mount})

    assert "nothing" not in cli.list_commands(click.Context(cli))
    assert _run("nothing").exit_code == 2


def test_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import package_that_is_not_installed\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(COMMANDS, "Trials", {"more": cli_module._Mount("needs_more", "more", "More.")})

    result = _run("more")

    assert result.exit_code == 1
    assert "package_that_is_not_installed" in result.output
    assert "pip install" in result.output


# ------------------------------------------------------------------------------------------------------- precedence


def _bootstrap(*words: str, env: dict[str, str] | None = None) -> tuple[str, str]:
    result = _run(*words, "config", "--json", env=env)
    assert result.exit_code == 0, result.output
    entry = json.loads(result.output)["kafka.bootstrap"]
    return entry["value"], entry["source"]


def test_config_takes_argument_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[kafka]\nbootstrap = "from-file:1"\n', encoding="utf-8")
    named, env = ("--config", str(file)), {"TRADESTREAM_KAFKA_BOOTSTRAP": "from-env:1"}

    assert _bootstrap("--set", "kafka.bootstrap=from-arg:1", *named, env=env) == ("from-arg:1", "argument")
    assert _bootstrap(*named, env=env) == ("from-env:1", "environment TRADESTREAM_KAFKA_BOOTSTRAP")
    assert _bootstrap(*named) == ("from-file:1", f"file {file}")
    assert _bootstrap(env={"TRADESTREAM_CONFIG": str(file)}) == ("from-file:1", f"file {file}")
    assert _bootstrap()[1] == "default"


def test_config_file_in_the_working_directory_is_found() -> None:
    Path("tradestream.toml").write_text('[kafka]\nbootstrap = "here:1"\n', encoding="utf-8")

    assert _bootstrap() == ("here:1", "file tradestream.toml")


def test_config_takes_the_last_of_repeated_settings_and_global_options() -> None:
    result = _run(
        "--set", "flink.parallelism=2", "--set", "flink.parallelism=3", "--state-dir", "s", "config", "--json"
    )

    values = json.loads(result.output)
    assert values["flink.parallelism"] == {"value": 3, "source": "argument"}
    assert values["state_dir"]["value"] == str(Path("s").absolute())


def test_config_hides_secrets() -> None:
    env = {"TRADESTREAM_KAFKA_SASL_PASSWORD": "hunter2"}

    for words in (("config",), ("config", "--json")):
        result = _run(*words, env=env)
        assert "hunter2" not in result.output
        assert "***" in result.output


def test_stack_commands_follow_the_global_options(tmp_path: Path) -> None:
    result = _run("--state-dir", str(tmp_path / "s"), "--set", "stack.taskmanagers=3", "stack", "status")

    assert result.exit_code == 1
    assert "taskmanager-3" in result.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--set", "kafka.bootstap=a:1", "config"), 2, "did you mean kafka.bootstrap"),
        (("--set", "kafka.sasl_password=x", "config"), 2, "secret"),
        (("--set", "nonsense", "config"), 2, "section.key=value"),
        (("--config", "absent.toml", "config"), 2, "absent.toml"),
        (("--profile", "production", "config"), 2, "kafka.bootstrap"),
        (("confg",), 2, "did you mean config?"),
        (("topics", "describe", "order"), 1, "did you mean orders?"),
        (("topics", "delete"), 2, "--all"),
        (("tail", "orders", "--where", "orderid=1"), 2, "orderId"),
        (("tail", "orders", "--from", "soon"), 2, "partition:offset"),
        (("submit", "no_such_job"), 1, "market_data"),
        (("submit", "trading", "--replace", "--from-savepoint", "latest"), 2, "--replace"),
        (("--set", "flink.rest_url=http://127.0.0.1:9", "jobs"), 1, "flink.rest_url"),
        (("--set", "registry.url=http://127.0.0.1:9", "schemas", "list"), 1, "cannot be reached"),
        (("--set", "registry.url=http://127.0.0.1:9", "alerts", "list"), 1, "registry.url"),
        (("--set", "clickhouse.url=http://127.0.0.1:9", "audit", "order", "O-1"), 1, "is clickhouse.url right"),
    ],
)
def test_errors_are_clear_and_have_the_documented_exit_code(words: tuple[str, ...], code: int, said: str) -> None:
    result = _run(*words)

    assert result.exit_code == code, result.output
    assert said in result.output
    assert "Traceback" not in result.output and "not expected" not in result.output


def test_unexpected_error_is_one_line_unless_debugged(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(cli_module, "broken", broken, raising=False)
    monkeypatch.setitem(COMMANDS, "Trials", {"broken": cli_module._Mount("jobs.cli", "broken", "Broken.")})

    result = _run("broken")
    assert result.exit_code == 1
    assert "ZeroDivisionError: surprise" in result.output
    assert "--debug" in result.output
    assert isinstance(_run("--debug", "broken").exception, ZeroDivisionError)


def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def endless() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_module, "endless", endless, raising=False)
    monkeypatch.setitem(COMMANDS, "Trials", {"endless": cli_module._Mount("jobs.cli", "endless", "Endless.")})

    assert _run("endless").exit_code == 130


def test_output_into_a_closed_pipe_is_silent() -> None:
    root = Path(cli_module.__file__).parents[1]
    # `config` prints more than one line; the reader goes after none.
    script = f"{sys.executable} -m jobs.cli config | true; echo ${{PIPESTATUS[0]}}"

    result = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=True)

    assert result.stderr == ""
    assert result.stdout.strip() == "0"


def test_confirmation_without_a_terminal_needs_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    confirm("Delete it?", yes=True)
    with pytest.raises(click.UsageError, match="--yes"):
        confirm("Delete it?", yes=False)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(7, "7 ms"), (12_345, "12.3 s"), (245_000, "4 min 5 s"), (7_380_000, "2 h 3 min"), (360_000_000, "4 d 4 h")],
)
def test_duration_is_short(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_size_uses_binary_units() -> None:
    assert [size(count) for count in (0, 1_023, 1_536, 3 * 2**20)] == ["0 B", "1023 B", "1.5 KiB", "3.0 MiB"]


def test_settings_keep_equals_signs_in_values() -> None:
    assert parse_settings(["kafka.bootstrap=a=b"]) == {"kafka.bootstrap": "a=b"}


def test_cli_error_exits_with_one() -> None:
    assert CliError("x").exit_code == 1


@pytest.mark.parametrize(
    "command",
    [
        ["report", "day", "--out"],
        ["report", "605", "--month", "2026-11", "--out"],
        ["audit", "export", "--out"],
        ["quality", "run", "--docs"],
    ],
    ids=" ".join,
)
def test_file_to_write_is_not_called_like_an_option(command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "--json"])
    assert result.exit_code == 2
    assert "--json looks like an option" in result.output
