"""Decoding the records of a topic for the archive: messages, and dead letters for what cannot be decoded.

Nothing is dropped: each record of a batch is either a message or a dead letter, with its position. A frame of another
schema version is resolved to the current one first (schemas.resolution).
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
from schemas.wire import ANY_SCHEMA, LONG_MAX, LONG_MIN, schema_id_of
from udfs.operators.arrow_blocks import Plan, Positions

JOB: Final = "archive"
STAGE: Final = "decode"
NANOSECONDS_A_MILLISECOND: Final = 1_000_000

Resolve = Callable[[bytes], bytes]
"""Frame of another schema id -> frame of the current one; DecodeError, or RegistryError when the registry cannot answer."""


class TooManyRefusals(RuntimeError):
    """So many records cannot be decoded that it is the release or its settings that are wrong."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one topic in the order in which they were read; `payloads[i]` belongs to entry i of `positions`."""

    payloads: Sequence[bytes]
    positions: Positions


@dataclass(frozen=True, slots=True)
class Decoded:
    """The messages of a batch and the dead letters for its other records, each with their positions."""

    messages: Sequence[Any]
    positions: Positions
    letters: Sequence[DeadLetter]
    letter_positions: Positions


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
        self._most_refused = most_refused
        self._refused_window = refused_window
        self._seen = self._seen_bad = 0

    def decode(self, batch: Batch) -> Decoded:
        """Decode a batch. Raises RegistryError (it can be called again then), TooManyRefusals."""
        messages: list[Any] = []
        letters: list[DeadLetter] = []
        bad: list[int] = []
        decode, schema_id = self.plan.decode, self._schema_id
        for index, payload in enumerate(batch.payloads):
            try:
                messages.append(decode(payload, schema_id))
            except DecodeError as error:
                try:
                    messages.append(self._decode_other(payload, error))
                except DecodeError as final:
                    bad.append(index)
                    letters.append(self._letter(payload, final, batch.positions, index))
        self._limit(len(batch.payloads), letters)
        refused = np.zeros(len(batch.positions), dtype=bool)
        refused[bad] = True
        return Decoded(messages, batch.positions.take(~refused), letters, batch.positions.take(refused))

    def _decode_other(self, payload: bytes, error: DecodeError) -> Any:
        """A frame that is not of the current schema, through resolution; DecodeError when it is no frame of the topic."""
        if error.reason != UNKNOWN_SCHEMA:
            raise error
        return self.plan.decode(self._resolve(payload), ANY_SCHEMA)

    def _letter(self, payload: bytes, error: DecodeError, positions: Positions, index: int) -> DeadLetter:
        topic, offset = self.plan.topic, int(positions.offsets[index])
        partition, kafka_ms = int(positions.partitions[index]), int(positions.kafka_ms[index])
        try:
            schema_id: int | None = schema_id_of(payload)
        except DecodeError:
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
            record_key=None,
            payload=payload,
            timestamp=max(LONG_MIN, min(kafka_ms * NANOSECONDS_A_MILLISECOND, LONG_MAX)),
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
