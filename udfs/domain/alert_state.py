"""A rule in a snapshot: its fields, in a layout of its own, because a snapshot outlives the schema that the rule came in."""

from schemas.messages.alert_rules import AlertRule
from udfs.domain.state_codec import StateReader, StateWriter


def write_rule(out: StateWriter, rule: AlertRule) -> None:
    """Put a rule that is in force into a snapshot."""
    for text in (rule.rule_id, rule.owner, rule.symbol):
        out.put_text(text)
    for number in (
        rule.version,
        rule.condition,
        rule.indicator,
        rule.period,
        rule.window_seconds,
        rule.threshold_e4,
        rule.severity,
        rule.cooldown_seconds,
        rule.timestamp,
    ):
        out.put(number)
    for optional in (rule.hysteresis_e4, rule.second_indicator, rule.second_period):
        out.put_flag(optional is not None)
        out.put(optional or 0)


def read_rule(reader: StateReader) -> AlertRule:
    """Take a rule from a snapshot."""
    rule_id, owner, symbol = reader.take_text(), reader.take_text(), reader.take_text()
    version, condition, indicator, period = reader.take(), reader.take(), reader.take(), reader.take()
    window, threshold, severity, cooldown = reader.take(), reader.take(), reader.take(), reader.take()
    timestamp = reader.take()
    optional = [_optional(reader), _optional(reader), _optional(reader)]
    return AlertRule(
        rule_id,
        version,
        owner,
        symbol,
        condition,
        indicator,
        period,
        window,
        threshold,
        severity,
        cooldown,
        True,
        timestamp,
        optional[0],
        optional[1],
        optional[2],
    )


def _optional(reader: StateReader) -> int | None:
    present, value = reader.take_flag(), reader.take()
    return value if present else None
