"""A real Prometheus beside the local stack: its program, its configuration, and what it scrapes.

Flink's Prometheus reporter serves each process's metrics on a port of its own, chosen free when the process starts and written
to a file that Prometheus watches. Metrics that users are promised get their plain names on the way in; the alert rules are those
of infra/monitoring/alerts.yml, which can be taken to any Prometheus as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.processes import Spec, StackError
from jobs.config import Config

Progress = Callable[[str], None]

NAME: Final = "prometheus"
FOLDER: Final = Path(__file__).with_name("monitoring")
REPORTER: Final = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"
_SCOPE: Final = "flink_taskmanager_job_task_operator"
PLAIN_NAMES: Final = (
    (f"{_SCOPE}_tradestream_(records|dead_letters)", "tradestream_${1}_total"),
    # Our own stages' other metrics, with and without the group that makes the label of a bucket.
    (f"{_SCOPE}_tradestream_(?:le_)?(.+)", "$1"),
    (f"{_SCOPE}_pendingRecords", "kafka_consumer_lag"),
)
"""What a metric of Flink is called here: pattern, name."""


def flink_settings() -> dict[str, object]:
    """Flink's configuration with the reporter on; the port comes with each process."""
    return {
        "metrics.reporters": "prometheus",
        "metrics.reporter.prometheus.factory.class": REPORTER,
        # The host is always this one, and the graph's texts would make each series a kilobyte.
        "metrics.reporter.prometheus.filterLabelValueCharacters": "false",
        "metrics.reporter.prometheus.scope.variables.excludes": "host;task_name;task_id;task_attempt_id;task_attempt_num",
    }


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_target(config: Config, component: str, port: int) -> None:
    """Tell Prometheus where a component's metrics are, from now on."""
    folder = config.state_dir / NAME / "targets"
    folder.mkdir(parents=True, exist_ok=True)
    target = [{"targets": [f"127.0.0.1:{port}"], "labels": {"component": component}}]
    # Renamed into its place: Prometheus reads at any moment.
    temporary = folder / f"{component}.tmp"
    temporary.write_text(json.dumps(target), encoding="utf-8")
    temporary.replace(folder / f"{component}.json")


def configuration(config: Config) -> str:
    """prometheus.yml; JSON is YAML."""
    relabel = [
        {"source_labels": ["__name__"], "regex": pattern, "target_label": "__name__", "replacement": name}
        for pattern, name in PLAIN_NAMES
    ]
    targets = config.state_dir / NAME / "targets"
    settings = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(FOLDER / "alerts.yml")],
        "scrape_configs": [
            {
                "job_name": "flink",
                "file_sd_configs": [{"files": [str(targets / "*.json")], "refresh_interval": "2s"}],
                "metric_relabel_configs": relabel,
            }
        ],
    }
    return json.dumps(settings, indent=2) + "\n"


def program(config: Config, name: str = NAME, progress: Progress = lambda _line: None) -> Path:
    """`prometheus` or `promtool`: the installed one, or Debian's, unpacked into the cache without being installed.

    Raises StackError when there is neither.
    """
    installed = shutil.which(name)
    if installed is not None:
        return Path(installed)
    cache = Path(config.stack.cache_dir).expanduser() / NAME
    unpacked = cache / "usr" / "bin" / name
    if not unpacked.is_file():
        progress("downloading Prometheus (Debian's package, 20 MB, once)")
        _unpack(cache)
    return unpacked


def _unpack(cache: Path) -> None:
    """Debian's package of Prometheus, unpacked into a folder."""
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise StackError(
            "Prometheus is not installed, and this is no Debian that it could be downloaded from: put `prometheus` and "
            "`promtool` on the PATH, or leave out --monitoring"
        )
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        download = f"apt-get download -o APT::Sandbox::User=root {NAME}"
        # The lists of packages may be missing or old; renewing them needs more rights than downloading.
        script = f"{{ {download} || {{ apt-get update && {download}; }}; }} && dpkg-deb -x {NAME}_*.deb unpacked"
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            timeout=600,
        )
        if done.returncode != 0:
            raise StackError(
                f"Prometheus cannot be downloaded ({(done.stderr or done.stdout).strip()[-300:]}): install it "
                "(sudo apt update; sudo apt install prometheus), or leave out --monitoring"
            )
        try:
            (Path(folder) / "unpacked").rename(cache)
        except OSError:
            # Another checkout was first, which is as good.
            if not (cache / "usr" / "bin" / NAME).is_file():
                raise


def spec(config: Config, healthy: Callable[[str], bool]) -> Spec:
    """How Prometheus is run; `healthy` asks whether a URL answers."""
    port = config.stack.port(NAME)
    folder = config.state_dir / NAME
    url = f"http://127.0.0.1:{port}"
    return Spec(
        name=NAME,
        command=(
            str(program(config)),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=7d",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.console.templates={os.devnull}",
            f"--web.console.libraries={os.devnull}",
        ),
        ready=lambda: healthy(f"{url}/-/ready"),
        ports={"stack.prometheus_port": port},
        url=url,
    )
