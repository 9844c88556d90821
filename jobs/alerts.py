"""Rules for alerts as messages: how what a user says becomes a record of alert-rules, and what is in force.

The topic is compacted by ruleId: the latest record of a rule is in force, and one that is not active removes it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from jobs.config import AnalyticsConfig, Config
from schemas.catalogue import TOPICS
from schemas.messages import alert_rules
from schemas.messages.enums import INDICATOR_CODES, INDICATOR_NONE, INDICATOR_UNKNOWN
from udfs.domain.alert_rules import fault_of, number_text, span_text
from udfs.domain.analytics_settings import ALWAYS, INDICATOR_LENGTHS_NS, AnalyticsSettings
from udfs.domain.bars import LENGTHS_NS, SECOND_NS

TOPIC: Final = TOPICS["alert-rules"]
_SPANS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DEFAULTS: Final[dict[str, Any]] = {
    "indicator": "NONE",
    "period": 0,
    "windowSeconds": 0,
    "thresholdE4": 0,
    "severity": "INFO",
    "cooldownSeconds": 0,
    "active": True,
    "hysteresisE4": None,
    "secondIndicator": None,
    "secondPeriod": None,
}


def parse_span(text: str) -> int:
    """A length of time such as 30s, 5m, 1h or 1d in seconds. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,7})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a length of time such as 30s, 5m, 1h or 1d")
    return int(match[1]) * _SPANS[match[2]]


def parse_number(text: str) -> int:
    """Decimal text with up to four places, and a sign or not, as a count of 1/10,000. Raises ValueError."""
    match = re.fullmatch(r"(-?)([0-9]{1,14})(?:\.([0-9]{1,4}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a number with at most four decimals, such as 181.25")
    value = int(match[2]) * 10_000 + int((match[3] or "").ljust(4, "0"))
    return -value if match[1] else value


def parse_percentage(text: str) -> int:
    """A percentage such as 2.5% in 1/10,000 percent. Raises ValueError."""
    if not text.endswith("%"):
        raise ValueError(f"{text!r} is not a percentage such as 2.5%")
    return parse_number(text[:-1])


def parse_indicator(text: str) -> tuple[str, int]:
    """An indicator such as sma:20 or session_vwap, by the topic's name and the period, 0 without one. Raises ValueError."""
    match = re.fullmatch(r"([A-Za-z_]+)(?::([0-9]{1,4}))?", text)
    name = match[1].upper() if match else ""
    if match is not None and (match[2] is None) != (INDICATOR_CODES.get(name) in ALWAYS):
        raise ValueError(f"{text!r} needs {'a period, such as sma:20' if match[2] is None else 'no period'}")
    if match is None or INDICATOR_CODES.get(name, INDICATOR_NONE) in (INDICATOR_NONE, INDICATOR_UNKNOWN):
        known = ", ".join(name.lower() for name in INDICATOR_CODES if name not in ("NONE", "UNKNOWN"))
        raise ValueError(f"{text!r} is not NAME:PERIOD such as sma:20, of {known}")
    return name, int(match[2] or 0)


def complete(given: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], owner: str) -> dict[str, Any]:
    """A rule as the topic has it, made of the fields that are given.

    known: the latest record of each rule, for the version. A rule without an id gets one that is made of what it says.
    Raises EncodeError or ValueError when the topic cannot hold it.
    """
    rule = _DEFAULTS | {"owner": owner, "timestamp": time.time_ns()} | dict(given)
    unknown = rule.keys() - {*_DEFAULTS, "ruleId", "version", "owner", "symbol", "condition", "timestamp"}
    missing = {"symbol", "condition"} - rule.keys()
    if unknown or missing:
        wrong = f"no field {', '.join(sorted(unknown))}" if unknown else f"to have {', '.join(sorted(missing))}"
        raise ValueError(f"a rule has {wrong}")
    if not rule.get("ruleId"):
        said = [f"{name}={rule[name]}" for name in sorted(rule) if name not in ("timestamp", "version", "ruleId")]
        digest = hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]
        symbol = "all" if rule["symbol"] == "*" else rule["symbol"]
        rule["ruleId"] = f"{symbol}-{str(rule['condition']).lower().replace('_', '-')}-{digest}"
    before = known.get(rule["ruleId"])
    rule.setdefault("version", 1 if before is None else int(before["version"]) + 1)
    # What the codec refuses is refused here, before anything is written.
    alert_rules.encode(alert_rules.from_dict(rule), 0)
    return rule


def fault(rule: Mapping[str, Any], settings: AnalyticsConfig) -> str:
    """Why the analytics job with these settings would refuse a rule, or an empty text."""
    return fault_of(
        alert_rules.from_dict(dict(rule)),
        AnalyticsSettings(0, 0, settings.indicators).computed(),
        [length // SECOND_NS for length in LENGTHS_NS],
        [length // SECOND_NS for length in INDICATOR_LENGTHS_NS],
    )


def removal(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The record that removes a rule."""
    return dict(rule) | {"active": False, "version": int(rule["version"]) + 1, "timestamp": time.time_ns()}


def read_rules(config: Config) -> dict[str, dict[str, Any]]:
    """The latest record of each rule that the topic has, removed ones too. Raises TailError, KafkaException, RegistryError."""
    from jobs.cli_schemas import open_registry
    from jobs.tail import Decoder, Start, open_consumer, read

    decoder = Decoder(TOPIC, open_registry(config))
    consumer = open_consumer(config, "read_committed")
    found: dict[str, dict[str, Any]] = {}
    try:
        for record in read(consumer, TOPIC, Start("beginning"), decoder, follow=False):
            if record is not None and record.value is not None:
                found[record.value["ruleId"]] = record.value
    finally:
        consumer.close()
    return found


def publish(config: Config, rules: Sequence[Mapping[str, Any]]) -> None:
    """Write rules in order and wait until Kafka has them. Raises EncodeError, RegistryError, PublishError."""
    from infra.feeds.publisher import Publisher
    from jobs.cli_schemas import open_registry

    schema_id = open_registry(config).register(TOPIC.subject, TOPIC.schema_file.read_text(encoding="utf-8"))
    messages = [alert_rules.from_dict(dict(rule)) for rule in rules]
    Publisher(config.kafka, linger_ms=5.0).play(
        (TOPIC.name, rule.rule_id.encode(), alert_rules.encode(rule, schema_id), rule.timestamp) for rule in messages
    )


def in_force(rules: Iterable[dict[str, Any]], owner: str | None, symbol: str | None) -> list[dict[str, Any]]:
    """The rules that are active, of an owner and for a symbol when they are given, by symbol and id."""
    found = [
        rule
        for rule in rules
        if rule["active"]
        and (owner is None or rule["owner"] == owner)
        and (symbol is None or rule["symbol"] in (symbol, "*"))
    ]
    return sorted(found, key=lambda rule: (rule["symbol"], rule["ruleId"]))


def text_of(rule: Mapping[str, Any]) -> str:
    """What a rule watches, for people: `price above 181.25`."""
    name, value, window = rule["condition"], number_text(rule["thresholdE4"]), span_text(rule["windowSeconds"])
    first = _indicator_name(rule["indicator"], rule["period"])
    if rule["secondIndicator"] not in (None, "NONE"):
        first = f"{first} less {_indicator_name(rule['secondIndicator'], rule['secondPeriod'])}"
    words = {
        "PRICE_ABOVE": f"price above {value}",
        "PRICE_BELOW": f"price below {value}",
        "PRICE_CROSS": f"price crosses {value}",
        "CHANGE_ABOVE": f"rises {value}% within {window}",
        "CHANGE_BELOW": f"falls {value.removeprefix('-')}% within {window}",
        "MOVE_ABOVE": f"moves {value}% within {window}",
        "VOLUME_ABOVE": f"volume of {window} above {value}",
        "INDICATOR_ABOVE": f"{first} of {window} above {value}",
        "INDICATOR_BELOW": f"{first} of {window} below {value}",
        "INDICATOR_CROSS": f"{first} of {window} crosses {value}",
        "SPREAD_ABOVE": f"spread above {value}%",
        "STALE": f"silent for {window}",
        "HALTED": "halted or paused",
    }
    said: str = words.get(name, name)
    if rule["hysteresisE4"]:
        said += f", hysteresis {number_text(rule['hysteresisE4'])}"
    if rule["cooldownSeconds"]:
        said += f", cool-down {span_text(rule['cooldownSeconds'])}"
    return said


def _indicator_name(name: str, period: int | None) -> str:
    """An indicator as the command line takes it."""
    return f"{name.lower()}:{period}" if period else name.lower()
