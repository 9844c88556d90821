"""Decoding the records of a topic for the archive: messages, tombstones, and dead letters for what cannot be decoded.

Nothing is dropped: each record of a batch is one of the three, with its position. A frame of another schema version is
resolved to the current one first (schemas.resolution).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from schemas.catalogue import TOPICS
from schemas.errors import UNKNOWN_SCHEMA, DecodeError
from schemas.messages.dead_letter import DeadLetter
from schemas.messages.enums import DEAD_LETTER_REASON_CODES
from schemas.wire import ANY_SCHEMA, INT_MAX, LONG_MAX, LONG_MIN, schema_id_of
from udfs.operators.arrow_blocks import Plan, Positions
from udfs.operators.tombstones import Tombstone, deletes_keys

JOB: Final = "archive"
STAGE: Final = "decode"
NANOSECONDS_A_MILLISECOND: Final = 1_000_000

Resolve = Callable[[bytes], bytes]
"""Frame of another schema id -> frame of the current one; DecodeError, or RegistryError when the registry cannot answer."""


class TooManyRefusals(RuntimeError):
    """So many records cannot be decoded that it is the release or its settings that are wrong."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one topic in the order in which they were read; `payloads[i]` belongs to entry i of `positions`.

    payloads: the values; None for a record that has none. null_keys: the keys of those without a value, in their order; of
    the others the archive keeps no key, because it is one of their fields.
    """

    payloads: Sequence[bytes | None]
    positions: Positions
    null_keys: Sequence[bytes | None] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """The messages of a batch, its tombstones, and the dead letters for its other records, each with their positions."""

    messages: Sequence[Any]
    positions: Positions
    letters: Sequence[DeadLetter]
    letter_positions: Positions
    tombstones: Sequence[Tombstone]
    tombstone_positions: Positions


class Decoder:
    """Decodes the records of one lane of a topic.

    When more than the share `most_refused` of `refused_window` records or more in a row cannot be decoded, it refuses
    to go on, before the topic is drained into the dead letters. Topics that outsiders write to are exempt: one of
    them could stop the archive at will.
    """

    def __init__(
        self, plan: Plan, schema_id: int, resolve: Resolve, most_refused: float = 0.5, refused_window: int = 1_000
    ) -> None:
        self.plan = plan
        self._schema_id = schema_id
        self._resolve = resolve
        self._limited = "outside" not in TOPICS[plan.topic].producers
        self._deletes = deletes_keys(plan.topic)
        self._most_refused = most_refused
        self._refused_window = refused_window
        self._seen = self._seen_bad = 0

    def decode(self, batch: Batch) -> Decoded:
        """Decode a batch. Raises RegistryError (it can be called again then), TooManyRefusals.

        ValueError when the keys of the records without a value are not as many as those records.
        """
        messages: list[Any] = []
        letters: list[DeadLetter] = []
        bad: list[int] = []
        nulls = [index for index, payload in enumerate(batch.payloads) if payload is None]
        keys = dict(zip(nulls, batch.null_keys, strict=True))
        deleted = nulls if self._deletes else []
        decode, schema_id = self.plan.decode, self._schema_id
        for index, payload in enumerate(batch.payloads):
            if payload is None:
                if self._deletes:
                    continue
                payload = b""
            try:
                messages.append(decode(payload, schema_id))
            except DecodeError as error:
                try:
                    messages.append(self._decode_other(payload, error))
                except DecodeError as final:
                    bad.append(index)
                    letters.append(self._letter(payload, final, batch.positions, index, keys.get(index)))
        self._limit(len(batch.payloads), letters)
        kinds = np.zeros(len(batch.positions), dtype=np.int8)
        kinds[bad], kinds[deleted] = 1, 2
        own, refused, gone = (batch.positions.take(kinds == kind) for kind in range(3))
        tombstones = [Tombstone(keys[index], _arrival_ns(batch.positions, index)) for index in deleted]
        return Decoded(messages, own, letters, refused, tombstones, gone)

    def _decode_other(self, payload: bytes, error: DecodeError) -> Any:
        """A frame that is not of the current schema, through resolution; DecodeError when it is no frame of the topic."""
        if error.reason != UNKNOWN_SCHEMA:
            raise error
        return self.plan.decode(self._resolve(payload), ANY_SCHEMA)

    def _letter(
        self, payload: bytes, error: DecodeError, positions: Positions, index: int, record_key: bytes | None
    ) -> DeadLetter:
        topic, offset = self.plan.topic, int(positions.offsets[index])
        partition, kafka_ms = int(positions.partitions[index]), int(positions.kafka_ms[index])
        try:
            schema_id: int | None = schema_id_of(payload)
        except DecodeError:
            schema_id = None
        # Four bytes of anything may follow the magic one, and no registry gives out an id that Avro's int cannot hold.
        if schema_id is not None and schema_id > INT_MAX:
            schema_id = None
        return DeadLetter(
            event_id=f"{topic}-{partition}-{offset}",
            job=JOB,
            stage=STAGE,
            source_topic=topic,
            source_partition=partition,
            source_offset=offset,
            source_timestamp=kafka_ms,
            reason=DEAD_LETTER_REASON_CODES[error.reason],
            detail=str(error) if payload else "no value: a tombstone or an empty record",
            schema_id=schema_id,
            record_key=record_key,
            payload=payload,
            timestamp=_arrival_ns(positions, index),
        )

    def _limit(self, records: int, letters: Sequence[DeadLetter]) -> None:
        if not self._limited:
            return
        self._seen += records
        self._seen_bad += len(letters)
        if self._seen < self._refused_window:
            return
        if self._seen_bad > self._most_refused * self._seen:
            detail = letters[-1].detail if letters else "in an earlier batch"
            raise TooManyRefusals(
                f"{self._seen_bad} of {self._seen} records of {self.plan.topic} cannot be decoded, more than the limit of "
                f"{self._most_refused:.0%}; the last one: {detail}. Check that topics, schema registry and release belong "
                "together, then start again: nothing was skipped"
            )
        self._seen = self._seen_bad = 0


def _arrival_ns(positions: Positions, index: int) -> int:
    """Kafka's timestamp of a record in nanoseconds; the nearest that fits when its producer made up an absurd one."""
    return max(LONG_MIN, min(int(positions.kafka_ms[index]) * NANOSECONDS_A_MILLISECOND, LONG_MAX))
