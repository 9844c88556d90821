"""Configuration of every command and job. This is the only module that reads the environment.

Each value is taken from the first of these that has it:

1. an explicit argument (a command-line option, `Config.load(overrides={"kafka.bootstrap": ...})`);
2. the environment: ``TRADESTREAM_<SECTION>_<KEY>``, e.g. ``TRADESTREAM_KAFKA_BOOTSTRAP``, ``TRADESTREAM_PROFILE``;
3. the file named by ``TRADESTREAM_CONFIG``, or ``tradestream.toml`` in the working directory;
4. the endpoints of the running local stack, ``<state_dir>/endpoints.toml`` (profile ``local`` only, and for a
   section only while its address is not set by 1-3, so that a local password never travels to a remote host);
5. the defaults of jobs/config_sections.py, which address the local stack's default ports.

Secrets come from 2 or 3, or from a file that is named by ``<key>_file``; as an explicit argument they are refused.
They are `Secret` objects, which print as ``***``.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jobs.config_sections import (
    AnalyticsConfig,
    AuditConfig,
    ClickHouseConfig,
    FlinkConfig,
    KafkaConfig,
    MarketDataConfig,
    RegistryConfig,
    Secret,
    StackConfig,
    TradingConfig,
)

__all__ = [
    "AnalyticsConfig",
    "AuditConfig",
    "ClickHouseConfig",
    "Config",
    "ConfigError",
    "FlinkConfig",
    "KafkaConfig",
    "MarketDataConfig",
    "RegistryConfig",
    "Secret",
    "StackConfig",
    "TradingConfig",
    "process_environment",
    "project_root",
]

PREFIX = "TRADESTREAM_"
FILE_NAME = "tradestream.toml"
ENDPOINTS_NAME = "endpoints.toml"


class ConfigError(ValueError):
    """A setting that is missing, unknown or invalid; the message names the key, its source and the remedy."""


def project_root() -> Path:
    """The checkout this package runs from, or the working directory when it is installed elsewhere."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, resolved and validated. Build it with `Config.load`."""

    kafka: KafkaConfig
    registry: RegistryConfig
    flink: FlinkConfig
    clickhouse: ClickHouseConfig
    market_data: MarketDataConfig
    trading: TradingConfig
    analytics: AnalyticsConfig
    audit: AuditConfig
    stack: StackConfig
    profile: Literal["local", "production"] = "local"
    state_dir: Path = Path(".tradestream")
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Where each value came from, by dotted key."""
    ignored_environment: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Variables that start with our prefix and name no setting: shown by `describe`, in case they are misspelt."""

    @classmethod
    def load(
        cls,
        *,
        overrides: Mapping[str, object] | None = None,
        config_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Config:
        """Resolve all settings by the precedence of this module.

        `overrides` maps dotted keys to values, None meaning "not given". `config_file` is the explicit form of
        TRADESTREAM_CONFIG. `environment` replaces the process environment (for tests).
        Raises ConfigError.
        """
        env = dict(os.environ if environment is None else environment)
        explicit = {key: value for key, value in (overrides or {}).items() if value is not None}
        for key in explicit:
            _check_key(key, "argument")
            if _field_types()[_base_key(key)] is Secret and not key.endswith("_file"):
                raise ConfigError(
                    f"{key} is a secret and cannot be an argument: set {_variable(key)}_FILE or {key}_file"
                )
        path, file_values = _read_config_file(config_file, env)
        layers: list[tuple[str, Mapping[str, object]]] = [
            ("argument", explicit),
            (
                "environment",
                {key: env[_variable(key)] for key in _all_keys() if env.get(_variable(key), "") != ""},
            ),
            (f"file {path}", file_values),
        ]
        resolver = _Resolver(layers)
        state_dir = Path(str(resolver.get("state_dir", project_root() / ".tradestream"))).expanduser().absolute()
        if resolver.get("profile", "local") == "local":
            resolver.add_endpoints(state_dir / ENDPOINTS_NAME)
        return resolver.build(state_dir, env)

    @property
    def log_dir(self) -> Path:
        """Logs of the local stack's processes."""
        return self.state_dir / "logs"

    @property
    def endpoints_file(self) -> Path:
        """Written by `stack up`, removed by `stack down`."""
        return self.state_dir / ENDPOINTS_NAME

    def describe(self) -> str:
        """Every setting with its value (secrets hidden) and its source, one per line."""
        rows = [(key, _printable(value), self.sources.get(key, "default")) for key, value in _walk(self)]
        width = max(len(key) for key, _, _ in rows)
        value_width = min(60, max(len(value) for _, value, _ in rows))
        lines = [f"{key:<{width}}  {value:<{value_width}}  ({source})" for key, value, source in rows]
        for name in self.ignored_environment:
            lines.append(f"ignored: {name} names no setting{_nearest(name, [_variable(k) for k in _all_keys()])}")
        return "\n".join(lines)


SECTIONS: Mapping[str, type] = {
    "kafka": KafkaConfig,
    "registry": RegistryConfig,
    "flink": FlinkConfig,
    "clickhouse": ClickHouseConfig,
    "market_data": MarketDataConfig,
    "trading": TradingConfig,
    "analytics": AnalyticsConfig,
    "audit": AuditConfig,
    "stack": StackConfig,
}
_ADDRESSES = {
    "kafka": "bootstrap",
    "registry": "url",
    "flink": "rest_url",
    "clickhouse": "url",
}


def process_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a program that we start: ours plus `extra`, without our own settings and secrets.

    Variables that would bend Python, Flink or Hadoop are left out too: a cluster is what its files say.
    """
    bending = (PREFIX, "FLINK_", "HADOOP_", "PYTHON")
    return {key: value for key, value in os.environ.items() if not key.startswith(bending)} | dict(extra or {})


class _Resolver:
    """Layers of raw values, first wins, turned into typed sections."""

    def __init__(self, layers: list[tuple[str, Mapping[str, object]]]) -> None:
        self.layers = layers
        self.sources: dict[str, str] = {}

    def get(self, key: str, default: object) -> object:
        """The raw value of the first layer that has `key`, or its ``_file`` form when it is a secret."""
        kind = _field_types()[key]
        for source, values in self.layers:
            origin = f"{source} {_variable(key)}" if source == "environment" else source
            if key in values:
                self.sources[key] = origin
                return _convert(key, values[key], kind, origin)
            if kind is Secret and f"{key}_file" in values:
                file = Path(str(values[f"{key}_file"])).expanduser()
                self.sources[key] = f"{origin}{'_FILE' if source == 'environment' else ''} → {file}"
                return _read_secret(key, file, origin)
        return default

    def add_endpoints(self, file: Path) -> None:
        """Add the running stack's endpoints, for the sections whose address nobody set."""
        if not file.is_file():
            return
        known = {key for _, values in self.layers for key in values}
        taken = {section for section, key in _ADDRESSES.items() if f"{section}.{key}" in known}
        values = _flatten(_read_toml(file), f"file {file}")
        self.layers.append(
            (
                "running local stack",
                {key: value for key, value in values.items() if key.split(".")[0] not in taken},
            )
        )

    def build(self, state_dir: Path, env: Mapping[str, str]) -> Config:
        """Construct the sections, fill in what depends on other sections, and validate."""
        sections: dict[str, Any] = {}
        for name, section in SECTIONS.items():
            values = {f.name: self.get(f"{name}.{f.name}", f.default) for f in dataclasses.fields(section)}
            sections[name] = section(**values)
        profile = str(self.get("profile", "local"))
        stack = self._default_stack(sections["stack"], env)
        if profile == "production":
            missing = [f"{s}.{k}" for s, k in _ADDRESSES.items() if not getattr(sections[s], k)]
            if missing:
                raise ConfigError(
                    f"profile production needs {', '.join(missing)}: set {', '.join(map(_variable, missing))}"
                )
        local = {
            "kafka": {"bootstrap": f"127.0.0.1:{stack.port('kafka')}"},
            "registry": {"url": f"http://127.0.0.1:{stack.port('registry')}/apis/ccompat/v7"},
            "flink": {
                "rest_url": f"http://127.0.0.1:{stack.port('flink_rest')}",
                "checkpoint_dir": (state_dir / "flink" / "checkpoints").as_uri(),
                "savepoint_dir": (state_dir / "flink" / "savepoints").as_uri(),
                "python_executable": sys.executable,
            },
            "clickhouse": {"url": f"http://127.0.0.1:{stack.port('clickhouse')}"},
        }
        filled = {
            name: dataclasses.replace(
                sections[name],
                **{k: v for k, v in defaults.items() if not getattr(sections[name], k)},
            )
            for name, defaults in local.items()
        }
        known = {_variable(key) for key in _all_keys()} | {f"{PREFIX}CONFIG"}
        ignored = tuple(sorted(name for name in env if name.startswith(PREFIX) and name not in known))
        config = Config(
            **filled,
            market_data=sections["market_data"],
            trading=sections["trading"],
            analytics=sections["analytics"],
            audit=sections["audit"],
            stack=stack,
            profile="production" if profile == "production" else "local",
            state_dir=state_dir,
            sources=self.sources,
            ignored_environment=ignored,
        )
        _validate(config)
        return config

    @staticmethod
    def _default_stack(stack: StackConfig, env: Mapping[str, str]) -> StackConfig:
        cache = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradestream"
        return dataclasses.replace(
            stack,
            cache_dir=stack.cache_dir or str(cache),
            java_home=stack.java_home or env.get("JAVA_HOME", ""),
        )


def _validate(config: Config) -> None:
    """Refuse combinations that would only fail later and less clearly."""
    kafka, stack = config.kafka, config.stack
    if kafka.security_protocol.startswith("SASL") and not (kafka.sasl_username and kafka.sasl_password.reveal()):
        raise ConfigError(
            f"kafka.security_protocol is {kafka.security_protocol}, so kafka.sasl_username and "
            f"kafka.sasl_password_file (or {_variable('kafka.sasl_password')}) must be set"
        )
    if bool(kafka.ssl_certfile) != bool(kafka.ssl_keyfile):
        raise ConfigError("kafka.ssl_certfile and kafka.ssl_keyfile must be set together")
    for part in kafka.bootstrap.split(","):
        if not re.fullmatch(r"\s*[^\s:]+:\d{1,5}\s*|\s*\[[0-9a-fA-F:]+\]:\d{1,5}\s*", part):
            raise ConfigError(f"kafka.bootstrap: {part!r} is not host:port ({config.sources.get('kafka.bootstrap')})")
    for section, key in (
        ("registry", "url"),
        ("flink", "rest_url"),
        ("clickhouse", "url"),
    ):
        url = str(getattr(getattr(config, section), key))
        if not re.match(r"https?://[^/\s]+", url):
            raise ConfigError(f"{section}.{key}: {url!r} is not an http(s) URL")
    ports: dict[int, str] = {}
    for name in stack.port_names():
        port = stack.port(name)
        if not 1_024 <= port <= 65_535:
            raise ConfigError(f"stack.{name}_port + stack.port_offset = {port} is not in 1024..65535")
        if port in ports:
            raise ConfigError(f"stack.{name}_port and stack.{ports[port]}_port are both {port}")
        ports[port] = name
    for key in (
        "flink.parallelism",
        "flink.checkpoint_interval_ms",
        "flink.journal_bytes",
        "stack.taskmanagers",
        "stack.start_timeout_s",
        "market_data.symbol_shards",
        "market_data.window_ms",
        "market_data.max_price",
        "market_data.max_size",
        "market_data.max_spread_bps",
        "market_data.late_after_s",
        "market_data.stale_after_s",
        "market_data.silent_after_s",
        "market_data.crossed_after_ms",
        "market_data.depth_levels",
        "market_data.trades_kept",
        "trading.account_shards",
        "trading.symbol_shards",
        "trading.window_ms",
        "trading.outcomes_ms",
        "trading.reference_price_window_ms",
        "analytics.symbol_shards",
        "analytics.window_ms",
        "audit.shards",
        "audit.window_ms",
        "audit.block_records",
    ):
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        # No window is one call of Python per record: slow, and there to be compared with. No journal prepares an upgrade.
        least = 0 if key in ("trading.window_ms", "trading.outcomes_ms", "flink.journal_bytes") else 1
        if value < least:
            raise ConfigError(f"{key} must be at least {least}, not {value}")


def _read_config_file(config_file: Path | None, env: Mapping[str, str]) -> tuple[Path, dict[str, object]]:
    """The settings file that is asked for (it must exist) or the one in the working directory (it may)."""
    asked = config_file or (Path(env[f"{PREFIX}CONFIG"]) if env.get(f"{PREFIX}CONFIG") else None)
    path = (asked or Path(FILE_NAME)).expanduser()
    if asked is None and not path.is_file():
        return path, {}
    return path, _flatten(_read_toml(path), f"file {path}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _flatten(tables: Mapping[str, Any], source: str) -> dict[str, object]:
    """Dotted keys of a parsed file; an unknown one is an error that names the nearest."""
    values: dict[str, object] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping):
            if name not in SECTIONS:
                raise ConfigError(f"{source}: unknown section [{name}]{_nearest(name, list(SECTIONS))}")
            values |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            values[name] = value
    for key in values:
        _check_key(key, source)
    return values


def _check_key(key: str, source: str) -> None:
    if key not in _all_keys():
        raise ConfigError(f"{source}: unknown setting {key}{_nearest(key, _all_keys())}")


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(known))}"


@functools.cache
def _field_types() -> dict[str, Any]:
    """The type of each dotted key that has a value of its own."""
    types: dict[str, Any] = {
        "profile": get_type_hints(Config)["profile"],
        "state_dir": Path,
    }
    for name, section in SECTIONS.items():
        types |= {f"{name}.{key}": kind for key, kind in get_type_hints(section).items()}
    return types


@functools.cache
def _all_keys() -> list[str]:
    """Every key that a file, an argument or (spelt by `_variable`) the environment may set."""
    types = _field_types()
    return [*types, *(f"{key}_file" for key, kind in types.items() if kind is Secret)]


def _base_key(key: str) -> str:
    types = _field_types()
    return key if key in types else key.removesuffix("_file")


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "_").upper()


def _convert(key: str, value: object, kind: Any, source: str) -> object:
    """`value` as the field's type; text is accepted for numbers, because the environment has nothing else."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value not in choices:
            raise ConfigError(f"{key} ({source}): {value!r} is not one of {', '.join(repr(c) for c in choices)}")
        return value
    if kind is Secret:
        return Secret(str(value))
    if kind is bool:
        # TOML and arguments have the words of their languages; str() of True is spelt as in neither.
        if str(value).lower() not in ("true", "false"):
            raise ConfigError(f"{key} ({source}): {value!r} is not true or false")
        return str(value).lower() == "true"
    if kind is int:
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d[\d_]*", str(value)):
            raise ConfigError(f"{key} ({source}): {value!r} is not a whole number")
        return int(str(value))
    if not isinstance(value, str | Path):
        raise ConfigError(f"{key} ({source}): {value!r} is not text")
    return kind(value)


def _read_secret(key: str, file: Path, source: str) -> Secret:
    try:
        # A trailing newline is what an editor or `echo` leaves; a password that ends in one is not supported.
        return Secret(file.read_text(encoding="utf-8").rstrip("\r\n"))
    except OSError as error:
        raise ConfigError(f"{key}_file ({source}): cannot read {file}: {error.strerror}") from error


def _walk(config: Config) -> Iterator[tuple[str, object]]:
    yield "profile", config.profile
    yield "state_dir", config.state_dir
    for name in SECTIONS:
        section = getattr(config, name)
        for item in dataclasses.fields(section):
            yield f"{name}.{item.name}", getattr(section, item.name)


def _printable(value: object) -> str:
    if isinstance(value, Secret):
        return repr(value) if value.reveal() else "(none)"
    return str(value) if str(value) else "(none)"
