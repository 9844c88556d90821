"""How sinks compress: as the topics that they write to, so that the broker takes batches as they come."""

from __future__ import annotations

from jobs.runtime import compression_of


def test_compression_of_a_sink_is_that_of_most_of_its_topics() -> None:
    assert compression_of(["market-data", "order-events", "trade-events"]) == "snappy"


def test_compression_of_a_sink_with_as_many_topics_of_each_is_that_of_the_first() -> None:
    assert compression_of(["market-data", "order-events"]) == "lz4"
    assert compression_of(["order-events", "market-data"]) == "snappy"


def test_compression_of_one_topic_is_its_own() -> None:
    assert compression_of(["audit-records"]) == "zstd"
