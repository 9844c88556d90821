"""Start a job on the Flink cluster with PyFlink's own client.

The client is a child process: `flink run -d -py jobs/<job>.py`. It gets the resolved settings in its environment
(``TRADESTREAM_*``; a secret that is in a file stays there), so that what `tradestream config` shows is what the job sees.
A cluster on this machine shares our files; to another one our packages travel as a zip (`-pyfs`).
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.config import SECTIONS, Config, Secret, process_environment, project_root
from jobs.flink_rest import FlinkError, FlinkRest, Job, is_loopback, root_cause
from jobs.job_state import remember_job
from jobs.sealed_transactions import OPEN, TransactionsError, transactions, without_transactions

Progress = Callable[[str], None]
PACKAGES: Final = ("jobs", "udfs", "schemas", "sql")
"""What a job needs on a cluster that does not share our files."""
_SUBMITTED = re.compile(r"(?:Job has been submitted with JobID|submitted \w+) ([0-9a-f]{32})")
# Flink's serializers and the Python bridge reflect into packages that Java 17 seals (Flink's own config.yaml).
_OPENED: Final = (
    "java.lang java.lang.reflect java.net java.io java.nio java.text java.time java.util java.util.concurrent "
    "java.util.concurrent.atomic java.util.concurrent.locks sun.nio.ch"
)
_FOLDER: Final = Path(__file__).resolve().parent
_PARSING: Final = threading.Lock()


class SubmitError(RuntimeError):
    """A job cannot be started; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class JobScript:
    """A job module: its command-line name, its name on the cluster, its file and a line about it."""

    key: str
    name: str
    file: Path
    summary: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A submission that is ready to run: `command` and what its environment adds to ours (secrets as ***)."""

    script: JobScript
    command: tuple[str, ...]
    environment: Mapping[str, str]
    shown_environment: Mapping[str, str]
    remote: bool


def job_scripts() -> dict[str, JobScript]:
    """The jobs of this checkout: the modules in jobs/ with NAME and build, found without importing PyFlink."""
    scripts = [_job_script(file) for file in sorted(_FOLDER.glob("*.py"))]
    return {script.key: script for script in scripts if script}


def _job_script(file: Path) -> JobScript | None:
    """What the module is as a job; None when it is none."""
    try:
        # One thread at a time: in Python 3.11 two that parse at once can end in a SystemError.
        with _PARSING:
            tree = ast.parse(file.read_text(encoding="utf-8"), file.name)
    except SyntaxError:
        # Whatever it is to become: a file that cannot run is no job, and must not hide the others.
        return None
    if not any(isinstance(node, ast.FunctionDef) and node.name == "build" for node in tree.body):
        return None
    names = [
        str(node.value.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign | ast.Assign)
        and isinstance(node.value, ast.Constant)
        and any(isinstance(target, ast.Name) and target.id == "NAME" for target in _targets(node))
    ]
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return JobScript(file.stem, names[0], file, summary) if names else None


def find_script(job: str) -> JobScript:
    """The job called `job` (a path to a script of the same shape is accepted too). Raises SubmitError."""
    scripts = job_scripts()
    if job in scripts:
        return scripts[job]
    file = Path(job).expanduser()
    if file.suffix == ".py" and file.is_file():
        return JobScript(file.stem, file.stem, file.resolve(), "")
    raise SubmitError(f"there is no job {job}; there are: {', '.join(scripts) or 'none'}")


def refuse_second_instance(rest: FlinkRest, script: JobScript) -> None:
    """Raise SubmitError when the job runs already: both would use the same transactional ids and fence each other."""
    running = live_jobs(rest, script.name)
    if running:
        raise SubmitError(
            f"{script.name} runs already ({running[0].id}, {running[0].state}); a second one would abort its transactions. "
            f"Replace it (`tradestream submit {script.key} --replace`) or stop it (`tradestream stop {script.name}`)"
        )


def live_jobs(rest: FlinkRest, name: str) -> list[Job]:
    """Jobs of that name that are not over."""
    return [job for job in rest.jobs() if job.name == name and job.live]


# ---------------------------------------------------------------------------------------------------- submission


def make_plan(
    config: Config,
    script: JobScript,
    folder: Path,
    *,
    from_savepoint: str | None = None,
    allow_non_restored_state: bool = False,
    forget_transactions: bool = False,
    requirements: Path | None = None,
) -> Plan:
    """Prepare the client's files in `folder` and return what is to be run.

    `forget_transactions`: resume without the transactions that the state has sealed (`sealed_transactions`). Raises SubmitError.
    """
    url = urllib.parse.urlsplit(config.flink.rest_url)
    remote = not is_loopback(url.hostname or "")
    if remote and config.sources.get("flink.checkpoint_dir") is None:
        raise SubmitError(
            f"flink.checkpoint_dir is not set, and {config.flink.rest_url} does not share this machine's folders: set it to "
            "a URI that the cluster can write, e.g. s3://bucket/checkpoints"
        )
    home = flink_home()
    python = _cluster_python(config, remote)
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "config.yaml").write_text(_client_configuration(url, python), encoding="utf-8")
    for file in (home / "conf").glob("log4j-cli.properties"):
        shutil.copy(file, folder / "conf")
    settings, shown = child_settings(config)
    flink = {
        "FLINK_HOME": str(home),
        "FLINK_CONF_DIR": str(folder / "conf"),
        "FLINK_LIB_DIR": str(_client_lib(config, home, folder)),
        "FLINK_OPT_DIR": str(home / "opt"),
        "FLINK_PLUGINS_DIR": str(home / "plugins"),
        "FLINK_LOG_DIR": str(folder),
        "PYTHONPATH": os.pathsep.join([str(project_root()), *site.getsitepackages()]),
    }
    if config.stack.java_home:
        flink["JAVA_HOME"] = config.stack.java_home
    if from_savepoint and forget_transactions:
        try:
            from_savepoint = without_transactions(from_savepoint, {**settings, **flink}, transactions(config, OPEN))
        except TransactionsError as error:
            raise SubmitError(str(error)) from error
    command = [str(home / "bin" / "flink"), "run", "-d", "-p", str(config.flink.parallelism)]
    if from_savepoint:
        command += ["-s", from_savepoint]
        if allow_non_restored_state:
            command += ["-n"]
    if remote:
        archive = folder / "tradestream.zip"
        pack(archive)
        command += ["-pyfs", str(archive)]
        if requirements:
            command += ["-pyreq", str(requirements)]
    command += ["-py", str(script.file)]
    return Plan(script, tuple(command), {**settings, **flink}, {**shown, **flink}, remote)


def run_plan(config: Config, plan: Plan, timeout_s: float = 600.0) -> str:
    """Run the client and return the job's id. Raises SubmitError with the root cause when it fails."""
    environment = process_environment(plan.environment)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    process = subprocess.Popen(
        plan.command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise SubmitError(f"Flink's client did not end within {timeout_s:.0f} s: {' '.join(plan.command)}") from error
    finally:
        # The client is a shell, a JVM and a Python: they end together, also on Ctrl-C.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    log = _keep_output(config, plan.script, output)
    found = _SUBMITTED.search(output)
    if found is None or process.returncode != 0:
        raise SubmitError(
            f"{plan.script.key} was not submitted: {root_cause(output)}{_hint(config, output)}\nAll that the client said: {log}"
        )
    remember_job(config, plan.script.name, found.group(1))
    return found.group(1)


def _hint(config: Config, output: str) -> str:
    """What to do about a refusal whose own words do not say it; empty when they do."""
    if "Cannot map checkpoint/savepoint state" in output and config.flink.shard_keys != "first":
        return (
            "\nWhat releases without flink.shard_keys have saved needs `--set flink.shard_keys=first`, and trading resumes with "
            "the trading.inputs and trading.gather_frames that it was started with (jobs/production.md)"
        )
    return ""


def submit_job(
    config: Config,
    job: str,
    *,
    from_savepoint: str | None = None,
    allow_non_restored_state: bool = False,
    forget_transactions: bool = False,
    timeout_s: float = 120.0,
    progress: Progress = lambda _line: None,
) -> str:
    """Submit a job, wait until all its tasks run, return its id: what the demo and tests call.

    `config.flink.parallelism` counts. `forget_transactions`: see `make_plan`. Raises SubmitError or FlinkError.
    """
    script = find_script(job)
    rest = FlinkRest(config.flink.rest_url)
    refuse_second_instance(rest, script)
    with tempfile.TemporaryDirectory(prefix="tradestream-submit-") as folder:
        plan = make_plan(
            config,
            script,
            Path(folder),
            from_savepoint=from_savepoint,
            allow_non_restored_state=allow_non_restored_state,
            forget_transactions=forget_transactions,
        )
        job_id = run_plan(config, plan)
    progress(f"{script.name} submitted as {job_id}")
    rest.wait_until_running(job_id, timeout_s, progress)
    return job_id


def slots_needed(config: Config, name: str) -> int:
    """Slots that the job of that name takes: of most, one holds one subtask of each task."""
    subtasks = config.flink.parallelism
    return config.trading.slots(subtasks) if name == "trading" else subtasks


def check_slots(config: Config, rest: FlinkRest, needed: int, freed: int = 0) -> None:
    """Raise SubmitError when the local cluster has too few free slots; a remote one may start TaskManagers on demand."""
    overview = rest.overview()
    free = overview.slots_free + freed
    if config.profile == "local" and free < needed:
        need = overview.taskmanagers + needed - free
        raise SubmitError(
            f"the job needs {needed} slot{'s' if needed > 1 else ''} and {free} of {overview.slots} are free: "
            f"`tradestream stack up --taskmanagers {need}` adds some, `tradestream stop JOB` frees some"
        )


def freed_slots(rest: FlinkRest, jobs: list[Job]) -> int:
    """Slots that become free when `jobs` end: at least one for each instance of a task.

    Those of stages that run apart are known by their TaskManagers, which on the local cluster have one each.
    """
    return sum(
        max(*(vertex.parallelism for vertex in rest.job(job.id)[1]), len(rest.taskmanagers(job.id)), 0) for job in jobs
    )


def child_settings(config: Config) -> tuple[dict[str, str], dict[str, str]]:
    """The settings as TRADESTREAM_* variables for a child process, and the same with secrets hidden."""
    values = {"TRADESTREAM_PROFILE": config.profile, "TRADESTREAM_STATE_DIR": str(config.state_dir)}
    shown = dict(values)
    for name in SECTIONS:
        if name == "stack":
            continue
        section = getattr(config, name)
        for item in dataclasses.fields(section):
            value, variable = getattr(section, item.name), f"TRADESTREAM_{name}_{item.name}".upper()
            source = config.sources.get(f"{name}.{item.name}", "")
            if isinstance(value, Secret):
                if " → " in source:
                    values[f"{variable}_FILE"] = shown[f"{variable}_FILE"] = source.partition(" → ")[2]
                elif value:
                    values[variable], shown[variable] = value.reveal(), repr(value)
            elif str(value):
                values[variable] = shown[variable] = str(value)
    return values, shown


def flink_home() -> Path:
    """Flink's distribution inside the installed apache-flink package. Raises SubmitError."""
    package = importlib.util.find_spec("pyflink")
    if package is None or package.origin is None:
        raise SubmitError("the Python package apache-flink is not installed: run ./infra/test once")
    return Path(package.origin).parent


def pack(archive: Path) -> None:
    """Write our packages into a zip, compiled modules included; those of another platform are ignored by Python."""
    root = project_root()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for package in PACKAGES:
            for file in sorted((root / package).rglob("*")):
                if file.is_file() and file.suffix in (".py", ".so", ".sql", ".avsc", ".toml", ".csv"):
                    stream.write(file, file.relative_to(root))


# ---------------------------------------------------------------------------------------------------------- inside


def _targets(node: ast.AnnAssign | ast.Assign) -> list[ast.expr]:
    return [node.target] if isinstance(node, ast.AnnAssign) else node.targets


def _cluster_python(config: Config, remote: bool) -> str:
    """The interpreter on the TaskManagers: ours is of no use on another machine unless it is asked for."""
    chosen = config.sources.get("flink.python_executable") is not None
    return config.flink.python_executable if chosen or not remote else "python3"


def _client_configuration(url: urllib.parse.SplitResult, python: str) -> str:
    """config.yaml of the client."""
    settings: dict[str, object] = {
        "rest.address": url.hostname or "",
        "rest.port": url.port or (443 if url.scheme == "https" else 80),
        "python.executable": python,
        "python.client.executable": sys.executable,
        "env.java.opts.all": " ".join(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED.split()),
        # The client lives for seconds: the second compiler would cost more than it gives.
        "env.java.opts.client": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    if url.scheme == "https":
        settings["security.ssl.rest.enabled"] = True
    if url.path.strip("/"):
        settings["rest.path"] = url.path
    # JSON's strings and numbers are YAML's.
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def _client_lib(config: Config, home: Path, folder: Path) -> Path:
    """The client's jars: the local stack's, or the distribution's with the Kafka connector from the cache."""
    local = config.state_dir / "flink" / "lib"
    if any(local.glob("flink-sql-connector-kafka-*.jar")):
        return local
    from infra import artifacts

    connectors = artifacts.ensure(config, lambda _line: None).flink_connectors
    lib = folder / "lib"
    lib.mkdir(exist_ok=True)
    for jar in [*(home / "lib").glob("*.jar"), *connectors.glob("*.jar")]:
        (lib / jar.name).symlink_to(jar)
    return lib


def _keep_output(config: Config, script: JobScript, output: str) -> Path:
    """Keep what the client said in the log folder; the last one of each job."""
    file = config.log_dir / f"submit-{script.key}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(output, encoding="utf-8")
    return file


__all__ = [
    "FlinkError",
    "JobScript",
    "Plan",
    "SubmitError",
    "check_slots",
    "child_settings",
    "find_script",
    "freed_slots",
    "job_scripts",
    "live_jobs",
    "make_plan",
    "pack",
    "refuse_second_instance",
    "run_plan",
    "slots_needed",
    "submit_job",
]
