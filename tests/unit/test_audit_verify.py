"""The walk along an audit chain: every way of tampering is found, told once, and named where it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from udfs.domain.audit_chain import AuditChain, Block, record_hash
from udfs.domain.audit_verify import ChainVerifier, Fault, Link, SourceRecord, Verdict

# Gaps, where the markers of transactions are.
OFFSETS = (0, 1, 2, 4, 5, 6, 7, 9, 10, 12)
BLOCK = 4


class Trail:
    """A good trail of `OFFSETS` in blocks of four: the last two records have links, and no root yet."""

    def __init__(self, offsets: Sequence[int] = OFFSETS) -> None:
        self.records = [SourceRecord(offset, b"key", b"value %d" % offset) for offset in offsets]
        self.links, self.blocks = build(self.records)

    def verify(self, first_retained: int = 0, after: Block | None = None) -> Verdict:
        walk = ChainVerifier("orders", 1, iter(self.records), self.blocks, first_retained, after)
        for link in self.links:
            walk.link(link)
        return walk.finish()


def build(records: Sequence[SourceRecord]) -> tuple[list[Link], list[Block]]:
    chain, links, blocks = AuditChain("orders", 1), [], []
    for number, record in enumerate(records, 1):
        digest = record_hash(record.offset, record.key, record.value)
        links.append(Link(f"orders-1-{record.offset}", record.offset, digest, chain.append(record.offset, digest)))
        if number % BLOCK == 0:
            block = chain.close_block()
            assert block is not None
            blocks.append(block)
    return links, blocks


def found(verdict: Verdict) -> tuple[int, Fault | None, int | None]:
    first = verdict.first
    return (verdict.broken, first.fault if first else None, first.offset if first else None)


def test_verify_of_a_good_trail_finds_nothing() -> None:
    assert Trail().verify() == Verdict(10, 0, 0, 2, None)


def test_verify_of_an_empty_trail_finds_nothing() -> None:
    assert Trail(()).verify() == Verdict(0, 0, 0, 0, None)


def test_verify_while_the_job_is_behind_counts_the_records_that_wait() -> None:
    trail = Trail()
    del trail.links[8:]
    assert trail.verify() == Verdict(8, 0, 2, 2, None)


@pytest.mark.parametrize("at", range(len(OFFSETS)))
def test_verify_after_a_record_was_deleted_names_it(at: int) -> None:
    trail = Trail()
    del trail.records[at]
    assert found(trail.verify()) == (1, Fault.NO_RECORD, OFFSETS[at])


@pytest.mark.parametrize("at", range(len(OFFSETS) - 1))
def test_verify_after_a_link_was_deleted_names_its_record(at: int) -> None:
    trail = Trail()
    del trail.links[at]
    assert found(trail.verify()) == (1, Fault.NO_LINK, OFFSETS[at])


def test_verify_after_links_at_the_end_were_deleted_tells_each_that_a_root_covers() -> None:
    trail = Trail()
    del trail.links[6:]
    assert found(trail.verify()) == (2, Fault.NO_LINK, 7)


@pytest.mark.parametrize("at", range(len(OFFSETS)))
@pytest.mark.parametrize("change", [{"value": b"other"}, {"key": b"other"}, {"key": None}, {"value": None}])
def test_verify_after_a_record_was_altered_names_it(at: int, change: dict[str, bytes | None]) -> None:
    trail = Trail()
    trail.records[at] = replace(trail.records[at], **change)  # type: ignore[arg-type]
    verdict = trail.verify()
    assert found(verdict) == (1, Fault.ALTERED, OFFSETS[at])
    assert verdict.first is not None
    assert str(verdict.first) == (
        f"orders-1 offset {OFFSETS[at]}: the record and its link differ (the link fits the chain: the record was altered)"
    )


@pytest.mark.parametrize("at", range(len(OFFSETS)))
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"record_hash": bytes(32)}, Fault.ALTERED),
        ({"chain_hash": bytes(32)}, Fault.BROKEN_CHAIN),
        ({"record_hash": bytes(32), "chain_hash": bytes(32)}, Fault.ALTERED),
        ({"event_id": "orders-1-99"}, Fault.WRONG_IDENTITY),
    ],
)
def test_verify_after_a_link_was_altered_names_it(at: int, change: dict[str, bytes | str], fault: Fault) -> None:
    trail = Trail()
    trail.links[at] = replace(trail.links[at], **change)  # type: ignore[arg-type]
    broken, first, offset = found(trail.verify())
    # A root is made with the chain hash that was altered, at the end of a block: nothing more is wrong.
    assert (broken, first, offset) == (1, fault, OFFSETS[at])


@pytest.mark.parametrize("offset", [3, 8, 11])
def test_verify_after_a_link_was_inserted_names_it(offset: int) -> None:
    trail = Trail()
    at = next(number for number, have in enumerate(OFFSETS) if have > offset)
    trail.links.insert(at, Link(f"orders-1-{offset}", offset, bytes(32), bytes(32)))
    assert found(trail.verify()) == (1, Fault.NO_RECORD, offset)


@pytest.mark.parametrize("offset", [3, 8, 11])
def test_verify_after_a_record_was_inserted_names_it(offset: int) -> None:
    trail = Trail()
    at = next(number for number, have in enumerate(OFFSETS) if have > offset)
    trail.records.insert(at, SourceRecord(offset, b"key", b"forged"))
    broken, fault, where = found(trail.verify())
    # The forged record, the link behind it, which follows from the record before it, and the root when there is one.
    assert (fault, where) == (Fault.NO_LINK, offset)
    assert broken == (3 if offset < trail.blocks[-1].last_offset else 2)


def test_verify_after_a_link_was_repeated_names_the_second() -> None:
    trail = Trail()
    trail.links.insert(4, trail.links[2])
    assert found(trail.verify()) == (1, Fault.OUT_OF_ORDER, OFFSETS[2])


@pytest.mark.parametrize("at", range(len(OFFSETS) - 1))
def test_verify_after_two_links_were_exchanged_names_the_first(at: int) -> None:
    trail = Trail()
    trail.links[at], trail.links[at + 1] = trail.links[at + 1], trail.links[at]
    assert found(trail.verify()) == (2, Fault.NO_LINK, OFFSETS[at])


@pytest.mark.parametrize("at", range(len(OFFSETS) - 1))
def test_verify_after_two_records_changed_places_names_the_first(at: int) -> None:
    trail = Trail()
    one, two = trail.records[at], trail.records[at + 1]
    trail.records[at : at + 2] = [replace(two, offset=one.offset), replace(one, offset=two.offset)]
    assert found(trail.verify()) == (2, Fault.ALTERED, OFFSETS[at])


def test_verify_of_a_source_out_of_order_tells_it() -> None:
    trail = Trail()
    trail.records[3], trail.records[4] = trail.records[4], trail.records[3]
    # The later record comes first, so the earlier link has none; then the earlier record comes too late.
    assert found(trail.verify()) == (2, Fault.NO_RECORD, OFFSETS[3])


@pytest.mark.parametrize(
    "change",
    [
        {"merkle_root": bytes(32)},
        {"chain_hash": bytes(32)},
        {"count": 3},
        {"first_offset": 3},
        {"previous_root": bytes(32)},
    ],
)
def test_verify_after_a_root_was_altered_names_its_block(change: dict[str, bytes | int]) -> None:
    trail = Trail()
    trail.blocks[1] = replace(trail.blocks[1], **change)  # type: ignore[arg-type]
    assert found(trail.verify()) == (1, Fault.WRONG_ROOT, trail.blocks[1].last_offset)


def test_verify_after_records_and_links_were_forged_together_finds_it_in_the_root() -> None:
    trail = Trail()
    trail.records[5] = replace(trail.records[5], value=b"forged")
    trail.links, _ = build(trail.records)
    assert found(trail.verify()) == (1, Fault.WRONG_ROOT, OFFSETS[7])


def test_verify_where_the_source_keeps_less_relies_on_the_chain() -> None:
    trail = Trail()
    del trail.records[:5]
    assert trail.verify(first_retained=6) == Verdict(10, 0, 0, 2, None)
    trail.links[2] = replace(trail.links[2], record_hash=bytes(32))
    assert found(trail.verify(first_retained=6))[1:] == (Fault.BROKEN_CHAIN, OFFSETS[2])


def test_verify_after_a_link_without_record_was_deleted_breaks_the_chain_at_the_next() -> None:
    trail = Trail()
    del trail.records[:5], trail.links[1]
    assert found(trail.verify(first_retained=6))[1:] == (Fault.BROKEN_CHAIN, OFFSETS[2])


def test_verify_from_a_block_on_goes_on_where_it_ends() -> None:
    trail = Trail()
    after = trail.blocks.pop(0)
    del trail.records[:4], trail.links[:4]
    assert trail.verify(first_retained=5, after=after) == Verdict(6, 0, 0, 1, None)
    forged = replace(after, chain_hash=bytes(32))
    assert found(trail.verify(first_retained=5, after=forged))[1:] == (Fault.BROKEN_CHAIN, OFFSETS[4])


def test_verify_of_any_single_change_in_a_random_trail_finds_it() -> None:
    seed = 4511
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(300):
        offsets = sorted(chance.sample(range(60), chance.randrange(2, 30)))
        trail = Trail(offsets)
        assert trail.verify().broken == 0
        at = chance.randrange(len(offsets) - 1)
        match chance.randrange(6):
            case 0:
                del trail.records[at]
            case 1:
                del trail.links[at]
            case 2:
                trail.records[at] = replace(trail.records[at], value=chance.randbytes(5))
            case 3:
                trail.links[at] = replace(trail.links[at], record_hash=chance.randbytes(32))
            case 4:
                trail.links.insert(at + 1, trail.links[at])
            case _:
                trail.links[at], trail.links[at + 1] = trail.links[at + 1], trail.links[at]
        verdict = trail.verify()
        assert verdict.first is not None
        assert verdict.first.offset == offsets[at], (offsets, at, verdict)
