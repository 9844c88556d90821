"""The Java programs of the local stack, downloaded once with Maven into a cache that all checkouts share.

The cache folder is named by a hash of infra/pom.xml, so that another set of versions lies beside it. A download goes to
a temporary folder and is renamed at the end: two checkouts may do it at once, and an interrupted one leaves no half.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.config import Config, process_environment

POM = Path(__file__).with_name("pom.xml")
AVRO_FORMAT = "org.apache.flink:flink-sql-avro-confluent-registry:2.3.0"
"""Flink SQL's Avro with a schema registry, of the Flink that pyproject.toml pins; only a benchmark wants it."""
Progress = Callable[[str], None]

_DOWNLOADING = re.compile(r"Downloading from \S+: \S*/([^/\s]+)$")
_DOWNLOADED = re.compile(r"Downloaded from \S+: \S*/([^/\s]+) \(([\d.]+ \w+) at")
_PROGRESS = re.compile(r"Progress \(1\): ([\d.]+)/([\d.]+) MB")


class ArtifactError(RuntimeError):
    """The Java programs cannot be had; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Where the downloaded programs are."""

    kafka_jars: Path
    registry_jar: Path
    flink_connectors: Path


def cache_folder(config: Config) -> Path:
    """The folder of the versions that this checkout's pom asks for."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    return Path(config.stack.cache_dir).expanduser() / f"stack-{digest}"


def locate(config: Config) -> Artifacts:
    """Where the artifacts are, or will be when they have been downloaded."""
    folder = cache_folder(config)
    runner = next(iter(sorted((folder / "registry").glob("*-runner.jar"))), folder / "registry" / "runner.jar")
    return Artifacts(kafka_jars=folder / "kafka", registry_jar=runner, flink_connectors=folder / "flink")


def are_present(config: Config) -> bool:
    """Whether the artifacts have been downloaded."""
    found = locate(config)
    return (
        found.registry_jar.is_file()
        and any(found.kafka_jars.glob("kafka_*.jar"))
        and any(found.flink_connectors.glob("*.jar"))
    )


def ensure(config: Config, progress: Progress) -> Artifacts:
    """Return the artifacts, downloading them first when they are not there. Raises ArtifactError."""
    if are_present(config):
        return locate(config)
    maven = shutil.which("mvn")
    if maven is None:
        raise ArtifactError(
            "Maven (mvn) is not installed, and the local stack's programs have to be downloaded with it. "
            "Debian and Ubuntu: sudo apt install maven; macOS: brew install maven"
        )
    folder = cache_folder(config)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ArtifactError(
            f"cannot write to the cache {folder.parent}: {error}. Set stack.cache_dir to another folder"
        ) from error
    progress(f"downloading Kafka, the schema registry and the Flink connector (about 165 MB, once) to {folder}")
    try:
        _run_pom(maven, staging, progress)
        try:
            staging.rename(folder)
        except OSError:
            # Another checkout finished first, which is as good; an incomplete folder is reported below.
            shutil.rmtree(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    if not are_present(config):
        raise ArtifactError(f"{folder} is incomplete; delete it and try again")
    return locate(config)


def ensure_jar(config: Config, artifact: str, progress: Progress) -> Path:
    """A jar that the stack itself does not need, `group:name:version`, downloaded once. Raises ArtifactError."""
    _, name, version = artifact.split(":")
    folder = Path(config.stack.cache_dir).expanduser() / "jars"
    jar = folder / f"{name}-{version}.jar"
    if jar.is_file():
        return jar
    maven = shutil.which("mvn")
    if maven is None:
        raise ArtifactError(f"Maven (mvn) is not installed, and {jar.name} has to be downloaded with it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as staging:
            progress(f"downloading {jar.name} (once) to {folder}")
            plugin = "org.apache.maven.plugins:maven-dependency-plugin:2.10:copy"
            _run_maven([maven, "-B", f"-Dartifact={artifact}", f"-DoutputDirectory={staging}", plugin], progress)
            (Path(staging) / jar.name).rename(jar)
    except OSError as error:
        raise ArtifactError(f"{jar} cannot be had: {error}. Set stack.cache_dir to another folder") from error
    return jar


def _run_pom(maven: str, target: Path, progress: Progress) -> None:
    """Run the pom with `target` as its output."""
    _run_maven([maven, "-f", str(POM), f"-Dstack.directory={target}", "package"], progress)


def _run_maven(command: list[str], progress: Progress) -> None:
    """Run Maven, translating its log into a line per large artifact. Raises ArtifactError when it fails."""
    command = [*command, "-Dstyle.color=never"]
    # Its own process group, so that Ctrl-C reaches us alone and we end it with its children.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=process_environment(),
        start_new_session=True,
    )
    try:
        tail = _follow(process, progress)
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, 9)
        process.wait()
        raise
    if code != 0:
        errors = [line for line in tail if "ERROR" in line][:6] or tail[-6:]
        raise ArtifactError(
            "Maven could not download the local stack's programs. Is the network reachable (proxy, mirror in "
            "~/.m2/settings.xml)? It said:\n  " + "\n  ".join(errors)
        )


def _follow(process: subprocess.Popen[bytes], progress: Progress) -> list[str]:
    """Read Maven's output to its end; return the last lines. Its progress comes as lines ended by a carriage return."""
    assert process.stdout is not None
    tail: list[str] = []
    current, files, last_report = "", 0, time.monotonic()
    buffer = b""
    while chunk := os.read(process.stdout.fileno(), 65_536):
        *lines, buffer = re.split(rb"[\r\n]", buffer + chunk)
        for raw in lines:
            line = raw.decode("utf-8", "replace").rstrip()
            now = time.monotonic()
            if match := _DOWNLOADING.search(line):
                current = match[1]
            elif match := _DOWNLOADED.search(line):
                files += 1
                if match[1].endswith((".jar", ".gz")) and match[2].endswith("MB"):
                    progress(f"  {match[1]} ({match[2]})")
                    last_report = now
            elif match := _PROGRESS.search(line):
                if now - last_report >= 2:
                    progress(f"  {current}: {match[1]} of {match[2]} MB")
                    last_report = now
            elif line:
                tail = [*tail[-60:], line]
            if files and now - last_report >= 5:
                progress(f"  {files} files so far")
                last_report = now
    return tail
