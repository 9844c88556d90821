"""The engine of the analytics job for one shard of symbols: bars and indicators, and the alerts that they and the ticks fire.

Both are one engine, so that a bar reaches the rules at the record that closes it, in an order that depends on that record's
partition alone, and not a checkpoint later through a topic.
Ordering: of one record, analytics first, then alerts. Everything else is said in analytics_shard.py and alert_shard.py.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import market_analytics, market_data
from udfs.domain.alert_shard import AlertShard
from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS, AnalyticsSettings
from udfs.domain.analytics_shard import ANALYTICS_STATE_KIND, AnalyticsShard
from udfs.domain.bars import LENGTHS_NS, SECOND_NS
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.outbox import Lane
from udfs.domain.sources import MARKET_DATA, PROGRESS
from udfs.domain.state_codec import StateReader, StateWriter

_REACHED_VERSION: Final = 2
"""Snapshots of earlier versions do not have how far the topic has come."""
_VERSION: Final = _REACHED_VERSION
_KIND: Final = 5


class AlertingOutbox:
    """What both engines have written since their outputs were last taken."""

    __slots__ = ("alerts", "dead_letter", "market_analytics")

    def __init__(self, market_analytics: Lane, dead_letter: Lane) -> None:
        self.market_analytics = market_analytics
        self.dead_letter = dead_letter
        self.alerts = Lane("alerts")

    def lanes(self) -> list[Lane]:
        """All lanes, in a fixed order."""
        return [self.market_analytics, self.alerts, self.dead_letter]

    def clear(self) -> None:
        """Forget what was written."""
        for lane in self.lanes():
            if lane.keys:
                lane.clear()


class AlertingAnalytics:
    """Analytics and alerts of one shard; see the module's contract."""

    def __init__(
        self,
        shard: int,
        shards: int,
        schema_ids: dict[str, int],
        out_of_order_ns: int,
        lateness_ns: int,
        indicators: str,
        idle_ns: int = 0,
    ) -> None:
        """`schema_ids`: of market-data, nbbo, market-status, alert-rules and what is written. The rest is AnalyticsShard's."""
        self.analytics = AnalyticsShard(shard, shards, schema_ids, out_of_order_ns, lateness_ns, indicators, idle_ns)
        written = self.analytics.outbox
        self.outbox = AlertingOutbox(written.market_analytics, written.dead_letter)
        settings = AnalyticsSettings(out_of_order_ns, lateness_ns, indicators, idle_ns)
        self.alerts = AlertShard(
            shard,
            shards,
            schema_ids,
            self.outbox.alerts,
            DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "alert", job="analytics"),
            [length // SECOND_NS for length in LENGTHS_NS],
            [length // SECOND_NS for length in INDICATOR_LENGTHS_NS],
            settings,
        )
        # The Kafka timestamp (ms) to which market-data has come; 0 before it was told.
        self._reached_ms: int = 0
        self._market_data = schema_ids["market-data"]
        self._market_analytics = schema_ids["market-analytics"]
        self._refused = DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "analyse", job="analytics")

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record of market-data, alert-rules, nbbo or market-status (a Confluent frame), or the topic's progress."""
        if source == PROGRESS:
            self._progress(partition, offset, kafka_timestamp_ms)
            return
        if source != MARKET_DATA:
            self.alerts.apply(source, payload, partition, offset, kafka_timestamp_ms)
            return
        try:
            event = market_data.decode(payload, self._market_data)
        except DecodeError as error:
            self._refused.put_undecodable(source, partition, offset, kafka_timestamp_ms, error, payload)
            return
        place = len(self.outbox.market_analytics.keys)
        self.analytics.apply_event(event, source, payload, partition, offset, kafka_timestamp_ms)
        self.alerts.market(event, partition, offset, kafka_timestamp_ms)
        self._analysed(place, event.timestamp, partition, offset)

    def _progress(self, partition: int, offset: int, kafka_ms: int) -> None:
        """Market-data has come to this Kafka timestamp, as the record at this place has told.

        It may be one of before: a job that was restored begins to learn how far the topic has come anew, with 0.
        """
        before_ms = self._reached_ms
        if kafka_ms <= before_ms:
            return
        self._reached_ms = kafka_ms
        if before_ms == 0:
            return
        place = len(self.outbox.market_analytics.keys)
        self.analytics.progress(before_ms, kafka_ms)
        self.alerts.progress(partition, offset, before_ms, kafka_ms)
        # No record of their own partition has this time: windows are over at their ends.
        self._analysed(place, None, partition, offset)

    def _analysed(self, place: int, time_ns: int | None, partition: int, offset: int) -> None:
        """Show rules what was written from this place on, at a time, or at the end of each one's window."""
        lane = self.outbox.market_analytics
        while place < len(lane.keys):
            if self.alerts.wants(lane.keys[place]):
                record = market_analytics.decode(lane.values[place], self._market_analytics)
                at_ns = record.window_end if time_ns is None else time_ns
                self.alerts.analysed(record, at_ns, partition, offset)
            place += 1

    def flush(self) -> None:
        """Nothing is written once a batch."""
        self.analytics.flush()

    def snapshot(self) -> bytes:
        """The state, between batches."""
        out = StateWriter()
        out.put_bytes(self.analytics.snapshot())
        out.put_bytes(self.alerts.snapshot())
        out.put(self._reached_ms)
        return out.finish(_VERSION, _KIND)

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot's, or by one of the release that had no alerts. Raises StateError."""
        if len(data) > 1 and data[1] == ANALYTICS_STATE_KIND:
            self.analytics.restore(data)
            return
        reader = StateReader(data, _KIND, _VERSION)
        analytics, alerts = reader.take_bytes(), reader.take_bytes()
        reached_ms = reader.take() if reader.version >= _REACHED_VERSION else 0
        reader.expect_end()
        self.analytics.restore(analytics)
        self.alerts.restore(alerts)
        self._reached_ms = reached_ms
        self.outbox.clear()
