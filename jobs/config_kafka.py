"""The connection settings of Kafka in the words of each client library. `jobs.config` is the way in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.config_sections import KafkaConfig

# The SQL connector jar carries its own Kafka client under this prefix; the plain class name would not be found.
_SHADED = "org.apache.flink.kafka.shaded."
_PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


class Secret:
    """A password that does not print itself; `reveal` gives it to the client that needs it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret in clear."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)


NO_SECRET = Secret("")


def kafka_python(kafka: KafkaConfig) -> dict[str, Any]:
    """Keyword arguments of kafka-python's clients."""
    settings: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap.split(",")],
        "security_protocol": kafka.security_protocol,
        **_tls(kafka, "ssl_cafile", "ssl_certfile", "ssl_keyfile"),
    }
    if _uses_sasl(kafka):
        settings |= {
            "sasl_mechanism": _mechanism(kafka),
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.reveal(),
        }
    return settings


def kafka_confluent(kafka: KafkaConfig) -> dict[str, str]:
    """Settings of confluent-kafka's clients."""
    settings = {
        "bootstrap.servers": kafka.bootstrap,
        "security.protocol": kafka.security_protocol,
        **_tls(kafka, "ssl.ca.location", "ssl.certificate.location", "ssl.key.location"),
    }
    if _uses_sasl(kafka):
        settings |= {
            "sasl.mechanism": _mechanism(kafka),
            "sasl.username": kafka.sasl_username,
            "sasl.password": kafka.sasl_password.reveal(),
        }
    return settings


def kafka_flink_sql(kafka: KafkaConfig) -> dict[str, str]:
    """Options of the Flink SQL Kafka connector, certificates inline, because TaskManagers do not share our files.

    Raises OSError when a certificate file cannot be read.
    """
    settings = {
        "bootstrap.servers": kafka.bootstrap,
        "security.protocol": kafka.security_protocol,
    }
    if _uses_tls(kafka):
        if kafka.ssl_cafile:
            settings |= {
                "ssl.truststore.type": "PEM",
                "ssl.truststore.certificates": _pem(kafka.ssl_cafile),
            }
        if kafka.ssl_certfile:
            settings |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.certificate.chain": _pem(kafka.ssl_certfile),
                "ssl.keystore.key": _pem(kafka.ssl_keyfile),
            }
    if _uses_sasl(kafka):
        mechanism = _mechanism(kafka)
        login = _PLAIN_LOGIN if mechanism == "PLAIN" else _SCRAM_LOGIN
        settings |= {
            "sasl.mechanism": mechanism,
            "sasl.jaas.config": (
                f"{_SHADED}{login} required username={_jaas_quote(kafka.sasl_username)} "
                f"password={_jaas_quote(kafka.sasl_password.reveal())};"
            ),
        }
    return {f"properties.{key}": value for key, value in settings.items()}


def _uses_sasl(kafka: KafkaConfig) -> bool:
    return kafka.security_protocol.startswith("SASL")


def _uses_tls(kafka: KafkaConfig) -> bool:
    return kafka.security_protocol.endswith("SSL")


def _mechanism(kafka: KafkaConfig) -> str:
    return kafka.sasl_mechanism or "PLAIN"


def _tls(kafka: KafkaConfig, ca_key: str, certificate_key: str, key_key: str) -> dict[str, str]:
    """The TLS files that are set, under a client's names for them."""
    if not _uses_tls(kafka):
        return {}
    files = {
        ca_key: kafka.ssl_cafile,
        certificate_key: kafka.ssl_certfile,
        key_key: kafka.ssl_keyfile,
    }
    return {key: file for key, file in files.items() if file}


def _pem(file: str) -> str:
    return Path(file).expanduser().read_text(encoding="ascii")


def _jaas_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
