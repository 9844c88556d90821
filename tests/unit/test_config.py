"""The configuration: precedence, secrets, translations for each client, and errors that name what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from jobs.config import Config, ConfigError, KafkaConfig, Secret, process_environment


def load(tmp_path: Path, env: dict[str, str] | None = None, file: str = "", **overrides: object) -> Config:
    """A configuration that sees nothing of this machine; ``kafka__bootstrap`` in `overrides` means kafka.bootstrap."""
    config_file = tmp_path / "settings.toml"
    config_file.write_text(file)
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return Config.load(
        overrides={"state_dir": tmp_path / "state"} | dotted, config_file=config_file, environment=env or {}
    )


def write_endpoints(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "endpoints.toml").write_text(text)


def test_load_with_nothing_set_addresses_the_local_stack(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.kafka.bootstrap == "127.0.0.1:28092"
    assert config.registry.url == "http://127.0.0.1:28081/apis/ccompat/v7"
    assert config.flink.rest_url == "http://127.0.0.1:28181"
    assert config.clickhouse.url == "http://127.0.0.1:28223"
    assert config.flink.checkpoint_dir == (tmp_path / "state/flink/checkpoints").as_uri()
    assert config.profile == "local"


def test_load_takes_each_layer_in_order(tmp_path: Path) -> None:
    write_endpoints(tmp_path, '[kafka]\nbootstrap = "endpoint:1"\n')
    file, env = '[kafka]\nbootstrap = "file:2"\n', {"TRADESTREAM_KAFKA_BOOTSTRAP": "env:3"}
    found = [
        load(tmp_path),
        load(tmp_path, file=file),
        load(tmp_path, env, file),
        load(tmp_path, env, file, kafka__bootstrap="arg:4"),
    ]
    assert [config.kafka.bootstrap for config in found] == ["endpoint:1", "file:2", "env:3", "arg:4"]
    sources = [config.sources["kafka.bootstrap"] for config in found]
    assert sources[0] == "running local stack"
    assert sources[1].startswith("file ")
    assert sources[2:] == ["environment TRADESTREAM_KAFKA_BOOTSTRAP", "argument"]


def test_load_when_an_argument_is_none_or_a_variable_empty_uses_the_next_layer(tmp_path: Path) -> None:
    config = load(tmp_path, {"TRADESTREAM_FLINK_PARALLELISM": ""}, "[flink]\nparallelism = 3", flink__parallelism=None)
    assert config.flink.parallelism == 3


def test_load_port_offset_moves_every_default_address(tmp_path: Path) -> None:
    config = load(tmp_path, {"TRADESTREAM_STACK_PORT_OFFSET": "100"})
    assert config.kafka.bootstrap == "127.0.0.1:28192"
    assert config.clickhouse.url.endswith(":28323")
    assert config.stack.port("flink_rpc") == 28_223


def test_load_never_sends_the_local_password_to_a_remote_host(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("local-password\n")
    write_endpoints(tmp_path, f'[clickhouse]\nurl = "http://127.0.0.1:1"\npassword_file = "{secret}"\n')
    assert load(tmp_path).clickhouse.password.reveal() == "local-password"
    remote = load(tmp_path, clickhouse__url="https://warehouse.example:8443")
    assert remote.clickhouse.password.reveal() == ""


def test_load_in_production_ignores_the_local_stack_and_demands_addresses(tmp_path: Path) -> None:
    write_endpoints(tmp_path, '[kafka]\nbootstrap = "127.0.0.1:1"\n')
    with pytest.raises(
        ConfigError, match=r"production needs kafka\.bootstrap, registry\.url, .*TRADESTREAM_KAFKA_BOOTSTRAP"
    ):
        load(tmp_path, {"TRADESTREAM_PROFILE": "production"})


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("[kafka]\nbootstap = 'x:1'", r"unknown setting kafka\.bootstap; did you mean kafka\.bootstrap\?"),
        ("[kafak]\nbootstrap = 'x:1'", r"unknown section \[kafak\]; did you mean kafka\?"),
        ("profil = 'local'", r"unknown setting profil; did you mean profile\?"),
        ("profile = 'prod'", r"profile .*'prod' is not one of 'local', 'production'"),
        ("[flink]\nparallelism = 'many'", r"flink\.parallelism .*'many' is not a whole number"),
        ("[flink]\nparallelism = true", r"flink\.parallelism .*True is not a whole number"),
        ("[stack]\nmonitoring = 'on'", r"stack\.monitoring .*'on' is not true or false"),
        ("[flink]\nparallelism = 0", r"flink\.parallelism must be at least 1"),
        ("[registry]\nurl = 5", r"registry\.url .*5 is not text"),
        ("[registry]\nurl = 'localhost:80'", r"registry\.url: 'localhost:80' is not an http\(s\) URL"),
        ("[kafka]\nbootstrap = 'a:1,b'", r"'b' is not host:port"),
        ("[kafka]\nsecurity_protocol = 'SASL_SSL'", r"kafka\.sasl_username and kafka\.sasl_password_file"),
        ("[kafka]\nssl_certfile = 'a.pem'", r"must be set together"),
        ("[kafka]\nsasl_password_file = '/nowhere/secret'", r"cannot read .*secret: No such file"),
        ("[stack]\nkafka_port = 28081", r"stack\.registry_port and stack\.kafka_port are both 28081"),
        ("[stack]\nport_offset = 40000", r"is not in 1024\.\.65535"),
        ("[kafka", r"is not valid TOML"),
    ],
)
def test_load_refuses_a_bad_file_and_says_what_is_wrong(tmp_path: Path, file: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, file=file)


def test_load_when_the_named_file_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*absent\.toml: No such file"):
        Config.load(environment={"TRADESTREAM_CONFIG": str(tmp_path / "absent.toml")})


def test_load_refuses_a_secret_as_an_argument_and_accepts_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clickhouse\.password is a secret .*TRADESTREAM_CLICKHOUSE_PASSWORD_FILE"):
        load(tmp_path, clickhouse__password="hunter2")
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    assert load(tmp_path, clickhouse__password_file=file).clickhouse.password.reveal() == "hunter2"


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    env = {"TRADESTREAM_KAFKA_SASL_PASSWORD": "hunter2", "TRADESTREAM_CLICKHOUSE_PASSWORD": "swordfish"}
    config = load(tmp_path, env)
    assert config.kafka.sasl_password.reveal() == "hunter2"
    shown = config.describe() + repr(config) + f"{config.kafka.sasl_password}" + repr(dataclasses.asdict(config.kafka))
    assert "hunter2" not in shown
    assert "swordfish" not in shown
    assert "***" in shown


def test_describe_names_the_source_of_each_value_and_a_misspelt_variable(tmp_path: Path) -> None:
    text = load(tmp_path, {"TRADESTREAM_FLINK_PARALLELISM": "2", "TRADESTREAM_FLINK_PARALELISM": "4"}).describe()
    line = next(line for line in text.splitlines() if line.startswith("flink.parallelism"))
    assert line.split()[1:] == ["2", "(environment", "TRADESTREAM_FLINK_PARALLELISM)"]
    assert "ignored: TRADESTREAM_FLINK_PARALELISM names no setting; did you mean TRADESTREAM_FLINK_PARALLELISM?" in text


def sasl_kafka(tmp_path: Path) -> KafkaConfig:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(f"-----{name}-----\n")
    return KafkaConfig(
        bootstrap="b1:9093, b2:9093",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="ada",
        sasl_password=Secret('pa"ss\\word'),
        ssl_cafile=str(tmp_path / "ca.pem"),
        ssl_certfile=str(tmp_path / "cert.pem"),
        ssl_keyfile=str(tmp_path / "key.pem"),
    )


def test_kafka_settings_for_kafka_python(tmp_path: Path) -> None:
    assert sasl_kafka(tmp_path).kafka_python() == {
        "bootstrap_servers": ["b1:9093", "b2:9093"],
        "security_protocol": "SASL_SSL",
        "ssl_cafile": str(tmp_path / "ca.pem"),
        "ssl_certfile": str(tmp_path / "cert.pem"),
        "ssl_keyfile": str(tmp_path / "key.pem"),
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ada",
        "sasl_plain_password": 'pa"ss\\word',
    }


def test_kafka_settings_for_confluent(tmp_path: Path) -> None:
    settings = sasl_kafka(tmp_path).confluent()
    assert settings["sasl.password"] == 'pa"ss\\word'
    assert settings["ssl.ca.location"] == str(tmp_path / "ca.pem")
    assert settings["sasl.mechanism"] == "SCRAM-SHA-512"


def test_kafka_settings_for_flink_quote_the_login_and_carry_the_certificates(tmp_path: Path) -> None:
    options = sasl_kafka(tmp_path).flink_sql()
    assert options["properties.sasl.jaas.config"] == (
        "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule required "
        r'username="ada" password="pa\"ss\\word";'
    )
    assert options["properties.ssl.truststore.certificates"] == "-----ca-----\n"
    assert options["properties.ssl.keystore.key"] == "-----key-----\n"


def test_kafka_settings_without_security_are_plain() -> None:
    kafka = KafkaConfig(bootstrap="b:1")
    assert kafka.flink_sql() == {"properties.bootstrap.servers": "b:1", "properties.security.protocol": "PLAINTEXT"}
    assert kafka.confluent() == {"bootstrap.servers": "b:1", "security.protocol": "PLAINTEXT"}


def test_process_environment_keeps_our_settings_from_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADESTREAM_KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("UNRELATED", "kept")
    env = process_environment({"PYTHONPATH": "/ours"})
    assert "TRADESTREAM_KAFKA_SASL_PASSWORD" not in env
    assert env["PYTHONPATH"] == "/ours"
    assert env["UNRELATED"] == "kept"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False)])
def test_switch_from_the_environment_is_true_or_false(tmp_path: Path, text: str, value: bool) -> None:
    assert load(tmp_path, {"TRADESTREAM_STACK_MONITORING": text}).stack.monitoring is value


def test_trading_window_of_nothing_is_one_call_per_record_and_others_need_a_window(tmp_path: Path) -> None:
    assert load(tmp_path, {"TRADESTREAM_TRADING_WINDOW_MS": "0"}).trading.window_ms == 0
    with pytest.raises(ConfigError, match=r"market_data\.window_ms must be at least 1"):
        load(tmp_path, {"TRADESTREAM_MARKET_DATA_WINDOW_MS": "0"})


def test_outcomes_may_be_told_at_once_but_not_before(tmp_path: Path) -> None:
    assert load(tmp_path, {"TRADESTREAM_TRADING_OUTCOMES_MS": "0"}).trading.outcomes_ms == 0
    with pytest.raises(ConfigError, match=r"trading\.outcomes_ms must be at least 0"):
        load(tmp_path, {"TRADESTREAM_TRADING_OUTCOMES_MS": "-1"})
