"""The trading job, broken on purpose: it numbers trades with a counter in memory, which every restart forgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from jobs import trading as job
from schemas.messages import order_events, trade_events
from udfs.domain.match_shard import MatchShard

CODECS: Mapping[str, ModuleType] = {"order-events": order_events, "trade-events": trade_events}


class CountedTrades:
    """An outbox whose trades have numbers instead of the ids of the fills that tell of them."""

    def __init__(self, outbox: Any, shard: int, schema_ids: Mapping[str, int]) -> None:
        self.outbox, self.shard, self.schema_ids = outbox, shard, schema_ids
        self.numbers: dict[str, int] = {}

    def lanes(self) -> Sequence[Any]:
        """The lanes, with other ids."""
        return [self._counted(lane) if lane.topic in CODECS else lane for lane in self.outbox.lanes()]

    def clear(self) -> None:
        """Forget what was written."""
        self.outbox.clear()

    def _counted(self, lane: Any) -> Any:
        codec = CODECS[lane.topic]
        values = []
        for value in lane.values:
            record = codec.to_dict(codec.decode(value))
            told = record["tradeId"]
            if told is not None:
                trade = f"T-{self.shard}-{self.numbers.setdefault(told, len(self.numbers))}-0"
                record["tradeId"] = trade
                if lane.topic == "trade-events":
                    record["eventId"] = trade + record["eventId"].removeprefix(told)
                value = codec.encode(codec.from_dict(record), self.schema_ids[lane.topic])
            values.append(value)
        return SimpleNamespace(topic=lane.topic, keys=lane.keys, values=values)


class CountingShard:
    """The engine of a shard with such an outbox; everything else is the engine's."""

    def __init__(self, shard: int, shards: int, schema_ids: Mapping[str, int]) -> None:
        self.engine = MatchShard(shard, shards, schema_ids)
        self.outbox = CountedTrades(self.engine.outbox, shard, schema_ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


if __name__ == "__main__":
    job.MatchShard = CountingShard  # type: ignore[misc,assignment]
    job.main()
