"""The audit engine: links of hand-made records, blocks and days, shards and snapshots, and a walk over what it wrote."""

from __future__ import annotations

import functools
import importlib
import json
import pickle
import random
from functools import partial
from typing import Any, Final

import pytest
from examples import EXAMPLES, fastavro_value, module_of

from schemas.catalogue import TOPICS
from schemas.json_form import from_json
from schemas.messages import audit_records, audit_roots
from udfs.domain.audit_chain import Block, ChainOrderError, MerkleTree, entry_hash, first_hash, next_hash, record_hash
from udfs.domain.audit_shard import (
    AUDITED,
    MAX_KEY_BYTES,
    MAX_PAYLOAD_BYTES,
    AuditShard,
    details_of,
    envelope,
    open_envelope,
    topics_of,
)
from udfs.domain.audit_verify import ChainVerifier, Link, SourceRecord
from udfs.domain.sources import AUDIT
from udfs.domain.state_codec import StateError

IDS: Final = {topic: number for number, topic in enumerate(TOPICS, 101)}
NOON_MS: Final = 1_767_355_200_000  # 2026-01-02 12:00 UTC
DAY_MS: Final = 86_400_000
HASH_ONLY: Final = "raw-feed,market-data"


def engine(block_records: int = 4, shard: int = 0, shards: int = 1) -> AuditShard:
    return AuditShard(shard, shards, IDS, block_records, HASH_ONLY)


def written(shard: AuditShard) -> tuple[list[audit_records.AuditRecord], list[audit_roots.AuditRoot]]:
    """Links and roots since the last call, decoded."""
    links = [audit_records.decode(value, IDS["audit-records"]) for value in shard.outbox.records.values]
    roots = [audit_roots.decode(value, IDS["audit-roots"]) for value in shard.outbox.roots.values]
    shard.outbox.clear()
    return links, roots


def feed(shard: AuditShard, topic: str, offset: int, value: bytes | None, **more: Any) -> None:
    data = envelope(topic, more.get("time_ms", NOON_MS), more.get("key", b"k"), value)
    shard.apply(AUDIT, data, more.get("partition", 0), offset, 0)


@functools.cache
def example(topic: str) -> bytes:
    """The richest example of a topic as a frame."""
    module = module_of(topic)
    payload = json.loads((EXAMPLES / topic / "valid" / "every_field.json").read_text("utf-8"))
    return bytes(module.encode(module.from_dict(from_json(topic, payload)), IDS[topic]))


@pytest.mark.parametrize("key", [None, b"", b"key with spaces ", bytes(range(256))])
@pytest.mark.parametrize("value", [None, b"", b" 1 2 ", bytes(range(256))])
def test_envelope_opened_gives_what_was_put_in(key: bytes | None, value: bytes | None) -> None:
    assert open_envelope(envelope("orders", 17, key, value)) == ("orders", 17, key, value)


@pytest.mark.parametrize(
    ("topic", "event_type", "actor"),
    [
        ("orders", "OrderCommand.NEW", "account_id"),
        ("order-events", None, "account_id"),
        ("trade-events", "TradeExecutedEvent", "account_id"),
        ("controls", None, "issued_by"),
        ("dead-letter", None, "job"),
        ("market-status", None, None),
    ],
)
def test_link_of_an_example_tells_its_type_and_actor(topic: str, event_type: str | None, actor: str | None) -> None:
    shard, frame = engine(), example(topic)
    feed(shard, topic, 5, frame, partition=3, key=b"who")
    (link,), _ = written(shard)
    event = importlib.import_module(TOPICS[topic].module).decode(frame)
    assert link.actor == (getattr(event, actor) if actor else None)
    assert link.event_type is not None and link.event_type.startswith(TOPICS[topic].record)
    if event_type:
        assert link.event_type == event_type
    assert (link.event_id, link.source_topic, link.source_partition, link.source_offset) == (
        f"{topic}-3-5",
        topic,
        3,
        5,
    )
    assert (link.kept, link.record_key, link.payload) == (True, b"who", frame)
    assert link.timestamp == NOON_MS * 1_000_000
    assert link.record_hash == record_hash(5, b"who", frame)
    assert link.chain_hash == next_hash(first_hash(topic, 3), entry_hash(link.record_hash, details_of(link)))


def test_order_event_is_named_by_its_status() -> None:
    module = module_of("order-events")
    payload = json.loads((EXAMPLES / "order-events" / "valid" / "every_field.json").read_text("utf-8"))
    shard = engine()
    payload |= {"eventType": "STATUS", "status": "ROUTED"}
    feed(shard, "order-events", 0, bytes(module.encode(module.from_dict(payload), IDS["order-events"])))
    assert written(shard)[0][0].event_type == "OrderEvent.ROUTED"


@pytest.mark.parametrize("value", [None, b"", b"\x01 not a frame", b"\0\0\0\0\1", bytes(40)])
def test_link_of_a_record_that_cannot_be_read_is_there_and_named_by_its_topic(value: bytes | None) -> None:
    shard = engine()
    feed(shard, "orders", 0, value, key=None)
    (link,), _ = written(shard)
    assert (link.event_type, link.actor, link.kept, link.payload, link.record_key) == (
        "OrderCommand",
        None,
        True,
        value,
        None,
    )


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [
        ("market-data", b"k", b"v"),
        ("orders", b"k" * (MAX_KEY_BYTES + 1), b"v"),
        ("orders", b"k" * (MAX_KEY_BYTES + 1), None),
        ("orders", b"k", b"v" * (MAX_PAYLOAD_BYTES + 1)),
    ],
    ids=["hash only", "long key", "long key of a tombstone", "long value"],
)
def test_link_without_payload_has_its_hash(topic: str, key: bytes, value: bytes | None) -> None:
    shard = engine()
    feed(shard, topic, 0, value, key=key)
    (link,), _ = written(shard)
    assert (link.kept, link.record_key, link.payload) == (False, None, None)
    assert link.record_hash == record_hash(0, key, value)


def test_longest_key_and_payload_fit_a_record_of_the_topic() -> None:
    shard = engine()
    feed(shard, "orders", 0, b"v" * MAX_PAYLOAD_BYTES, key=b"k" * MAX_KEY_BYTES)
    (value,) = shard.outbox.records.values
    assert len(value) < TOPICS["audit-records"].max_message_bytes
    assert written(shard)[0][0].kept


@pytest.mark.parametrize("time_ms", [-1, -(2**63), 2**63 - 1, 0])
def test_absurd_times_stop_nothing(time_ms: int) -> None:
    shard = engine(block_records=1)
    feed(shard, "orders", 0, b"v", time_ms=time_ms)
    (link,), (root,) = written(shard)
    assert link.chain_hash == root.chain_hash and len(root.date) == 10


def test_block_is_closed_when_full_and_when_a_later_day_begins() -> None:
    shard = engine(block_records=3)
    for offset in range(4):
        feed(shard, "orders", offset, b"v")
    feed(shard, "orders", 5, b"v", time_ms=NOON_MS - DAY_MS)  # an earlier time changes nothing
    feed(shard, "orders", 7, b"v", time_ms=NOON_MS + DAY_MS)
    feed(shard, "orders", 9, b"v", time_ms=NOON_MS)
    links, roots = written(shard)
    assert [(root.first_offset, root.last_offset, root.record_count, root.date) for root in roots] == [
        (0, 2, 3, "2026-01-02"),
        (3, 5, 2, "2026-01-02"),
    ]
    assert [root.event_id for root in roots] == ["orders-0-0", "orders-0-3"]
    assert (roots[0].previous_root, roots[1].previous_root) == (None, roots[0].merkle_root)
    tree = MerkleTree()
    for link in links[:3]:
        tree.add(entry_hash(link.record_hash, details_of(link)))
    assert (roots[0].merkle_root, roots[0].chain_hash) == (tree.root(), links[2].chain_hash)
    assert roots[1].timestamp == (NOON_MS - DAY_MS) * 1_000_000


def test_offset_that_is_not_above_the_last_stops_the_engine() -> None:
    shard = engine()
    feed(shard, "orders", 5, b"v")
    with pytest.raises(ChainOrderError, match="offset 5 comes after 5"):
        feed(shard, "orders", 5, b"v")


def random_records(seed: int, count: int = 400) -> list[tuple[bytes, int, int]]:
    """Envelopes with partition and offset, of all topics and some days; a partition's offsets rise with gaps."""
    print(f"seed {seed}")
    dice, ends, records = random.Random(seed), dict[tuple[str, int], int](), []
    for number in range(count):
        topic, partition = dice.choice(AUDITED), dice.randrange(3)
        offset = ends[topic, partition] = ends.get((topic, partition), -1) + 1 + (dice.random() < 0.2)
        key = dice.choice([None, b"", dice.randbytes(9)])
        value = dice.choice([None, dice.randbytes(30), example(topic)])
        records.append((envelope(topic, NOON_MS + number * DAY_MS // 100, key, value), partition, offset))
    return records


def by_chain(shard: AuditShard) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for lane in shard.outbox.lanes():
        for key, value in zip(lane.keys, lane.values, strict=True):
            found.setdefault(lane.topic.encode() + b" " + key, []).append(value)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_snapshots_at_random_cuts_continue_with_the_same_bytes(seed: int) -> None:
    dice, records = random.Random(seed), random_records(seed)
    whole, parts = engine(), engine()
    for data, partition, offset in records:
        whole.apply(AUDIT, data, partition, offset, 0)
    found: dict[bytes, list[bytes]] = {}
    for data, partition, offset in records:
        parts.apply(AUDIT, data, partition, offset, dice.randrange(99))
        if dice.random() < 0.1:
            for chain, values in by_chain(parts).items():
                found.setdefault(chain, []).extend(values)
            state, parts = parts.snapshot(), engine()
            parts.restore(state)
    for chain, values in by_chain(parts).items():
        found.setdefault(chain, []).extend(values)
    assert found == by_chain(whole)
    assert whole.snapshot() == parts.snapshot()


def test_chains_of_several_shards_are_those_of_one() -> None:
    records = random_records(9)
    one, several = engine(), [engine(shard=number, shards=3) for number in range(3)]
    for data, partition, offset in records:
        one.apply(AUDIT, data, partition, offset, 0)
        several[partition].apply(AUDIT, data, partition, offset, 0)
    joined: dict[bytes, list[bytes]] = {}
    for shard in several:
        joined |= by_chain(shard)
    assert joined == by_chain(one)


def test_walk_over_what_the_engine_wrote_finds_nothing_and_an_altered_actor_is_found() -> None:
    shard = engine(block_records=3)
    records = [(offset, b"k", example("orders")) for offset in range(8)]
    for offset, key, value in records:
        feed(shard, "orders", offset, value, key=key)
    links, roots = written(shard)
    blocks = [
        Block(r.first_offset, r.last_offset, r.record_count, r.merkle_root, r.chain_hash, r.previous_root)
        for r in roots
    ]
    honest = [details_of(link) for link in links]

    def walk() -> Any:
        source = iter(SourceRecord(*record, honest[record[0]]) for record in records)
        verifier = ChainVerifier("orders", 0, source, blocks)
        for link in links:
            verifier.link(Link(link.event_id, link.source_offset, link.record_hash, link.chain_hash, details_of(link)))
        return verifier.finish()

    assert (walk().broken, walk().records, walk().blocks) == (0, 8, 2)
    links[4].actor = "somebody else"
    verdict = walk()
    assert verdict.broken == 1 and verdict.first is not None
    assert "offset 4: the record and its link differ" in str(verdict.first)


def test_snapshot_of_other_shards_or_damaged_is_refused() -> None:
    shard = engine()
    feed(shard, "orders", 0, b"v")
    state = shard.snapshot()
    with pytest.raises(StateError, match="number of shards cannot change"):
        engine(shard=0, shards=2).restore(state)
    with pytest.raises(StateError):
        engine().restore(state[:-1])


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="a block of 0 records"):
        engine(block_records=0)
    with pytest.raises(ValueError, match="audit-records is no audited topic"):
        topics_of("orders, audit-records")
    with pytest.raises(KeyError, match="audit-roots"):
        AuditShard(0, 1, {"audit-records": 1}, 4)
    assert not {"audit-records", "audit-roots"} & set(AUDITED)


def test_engine_of_a_stage_travels_to_the_cluster() -> None:
    made = pickle.loads(pickle.dumps(partial(AuditShard, shards=2, schema_ids=IDS, block_records=4, hash_only="")))(1)
    feed(made, "orders", 0, b"v")
    assert len(written(made)[0]) == 1


def test_links_are_avro_that_others_read() -> None:
    shard = engine()
    feed(shard, "orders", 0, example("orders"))
    (value,) = shard.outbox.records.values
    assert fastavro_value("audit-records", value[5:])["eventType"] == "OrderCommand.NEW"
