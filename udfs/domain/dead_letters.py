"""Records that cannot be used, with the reason, the place and the original bytes.

Ordering: none. Invariant: bad input never raises; it comes out here.
Known limits: a payload over `MAX_PAYLOAD` bytes is cut, and the detail says so.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages.dead_letter import encode_fields
from schemas.messages.enums import DEAD_LETTER_REASON_CODES, DEAD_LETTER_REASON_UNDECODABLE
from udfs.domain.ids import position_id
from udfs.domain.outbox import Lane
from udfs.domain.sources import TOPICS

MAX_PAYLOAD: Final = 8_000_000
_MAX_DETAIL: Final = 1_000


class DeadLetters:
    """Writes dead letters of one stage of a job."""

    __slots__ = ("count", "job", "lane", "schema_id", "stage")

    def __init__(self, lane: Lane, schema_id: int, stage: str, job: str = "trading") -> None:
        self.job = job
        self.lane = lane
        self.schema_id = schema_id
        self.stage = stage
        self.count: int = 0

    def put(
        self,
        source: int,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
        reason: int,
        detail: str,
        payload: bytes,
        timestamp: int,
    ) -> None:
        """Write one; `timestamp` is the time of the input in ns when it is known, else 0."""
        topic = TOPICS[source]
        if len(detail) > _MAX_DETAIL:
            detail = detail[:_MAX_DETAIL]
        if len(payload) > MAX_PAYLOAD:
            detail = f"{detail} (payload of {len(payload)} bytes cut to {MAX_PAYLOAD})"
            payload = payload[:MAX_PAYLOAD]
        schema_id: int | None = None
        if len(payload) >= 5 and payload[0] == 0:
            number = payload[1] << 24 | payload[2] << 16 | payload[3] << 8 | payload[4]
            if number < 2**31:
                schema_id = number
        self.count += 1
        self.lane.put(
            topic.encode("ascii"),
            encode_fields(
                self.schema_id,
                position_id(topic, partition, offset),
                self.job,
                self.stage,
                topic,
                partition,
                offset,
                kafka_timestamp_ms,
                reason,
                detail,
                schema_id,
                None,
                payload,
                timestamp if timestamp else kafka_timestamp_ms * 1_000_000,
            ),
        )

    def put_undecodable(
        self, source: int, partition: int, offset: int, kafka_timestamp_ms: int, error: DecodeError, payload: bytes
    ) -> None:
        """Write one for bytes that are not a message of their topic."""
        reason = DEAD_LETTER_REASON_CODES.get(error.reason, DEAD_LETTER_REASON_UNDECODABLE)
        self.put(source, partition, offset, kafka_timestamp_ms, reason, str(error), payload, 0)
