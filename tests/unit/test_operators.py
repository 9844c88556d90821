"""The operators' parts that need no cluster: journal, dead-letter limit, spreading of shards, and the shard function."""

from __future__ import annotations

from collections import Counter

import pytest
from pyflink.java_gateway import get_gateway

from schemas.messages.dead_letter import DeadLetter, encode
from schemas.messages.enums import DEAD_LETTER_REASON_REPLAYED_ORDER, DEAD_LETTER_REASON_UNDECODABLE
from udfs.domain.sharding import java_hash, shard_of
from udfs.operators.dead_letter_limit import DeadLetterLimit, TooManyDeadLetters
from udfs.operators.journal import Batch, decode_batch, encode_batch
from udfs.operators.spread_keys import FIRST, MAX_PARALLELISM, key_group, spread_keys

OLD_KEYS = [312, 361, 75, 300, 84, 70, 57, 163]
"""Under which the releases before `EVEN` have the state of eight shards."""


def letter(reason: int) -> bytes:
    return encode(
        DeadLetter("orders-0-1", "trading", "risk", "orders", 0, 1, 0, reason, "cut off", None, None, b"x", 0), 1
    )


@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("payloads", [[], [b""], [b"a", b"", b"bc" * 1000]])
def test_journal_entry_decoded_is_the_batch(payloads: list[bytes], flushed: bool) -> None:
    batch = Batch(3, payloads, [(7 << 48) | n for n in range(len(payloads))], 1_700_000_000_000, flushed)
    assert decode_batch(encode_batch(batch)) == batch


def test_journal_entry_of_a_batch_that_waits_says_so() -> None:
    batch = Batch(3, [b"a"], [7], 1_700_000_000_000, flushed=False, waiting=True)
    assert decode_batch(encode_batch(batch)) == batch


def test_journal_entry_as_version_1_wrote_it_still_reads() -> None:
    entry = bytes.fromhex("0101020000000068e5cf8b010000020000000100000005000000000003000600000000000300616263")
    assert decode_batch(entry) == Batch(1, [b"ab", b"c"], [3 << 48 | 5, 3 << 48 | 6], 1_700_000_000_000)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (b"\x01\x01", "shorter than its head"),
        (b"\x04" + bytes(13), "version 4"),
        (encode_batch(Batch(1, [b"ab"], [1], 0)) + b"!", "should have"),
    ],
)
def test_journal_entry_that_is_damaged_or_newer_is_refused(entry: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_batch(entry)


def test_dead_letter_limit_passed_stops_the_job_and_says_why() -> None:
    count = DeadLetterLimit(share=0.5, window=100).start("check_risk")
    for _ in range(49):
        count.count(1, [])
    count.count(50, [letter(DEAD_LETTER_REASON_UNDECODABLE)] * 50)
    with pytest.raises(TooManyDeadLetters, match=r"51 of the last 100 records of stage check_risk.*cut off"):
        for _ in range(2):
            count.count(49, [])
            count.count(51, [letter(DEAD_LETTER_REASON_UNDECODABLE)] * 51)


def test_dead_letter_limit_does_not_count_records_that_were_sent_again() -> None:
    count = DeadLetterLimit(share=0.1, window=100).start("check_risk")
    for _ in range(5):
        count.count(100, [letter(DEAD_LETTER_REASON_REPLAYED_ORDER)] * 100)
    assert count.bad == 0


@pytest.mark.parametrize("shards", [1, 2, 16, 64, 128])
def test_spread_keys_give_every_subtask_as_many_shards(shards: int) -> None:
    keys = spread_keys(shards)
    for parallelism in (number for number in (1, 2, 4, 8, 16, 64) if shards % number == 0):
        owners = Counter(key_group(key) * parallelism // MAX_PARALLELISM for key in keys)
        assert list(owners.values()) == [shards // parallelism] * parallelism


def test_spread_keys_of_more_shards_than_key_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="129 shards"):
        spread_keys(129)


def test_spread_keys_of_older_releases_stay_because_state_lies_under_them() -> None:
    assert spread_keys(8, FIRST) == OLD_KEYS
    assert spread_keys(8) != OLD_KEYS


def test_key_group_equals_flinks_of_the_key_that_pyflinks_selector_makes() -> None:
    jvm = get_gateway().jvm
    java, selector, row = (
        jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment,
        jvm.KeyByKeySelector(),
        jvm.org.apache.flink.types.Row(2),
    )
    for key in (*range(300), 2**31 - 1, 123_456_789):
        row.setField(0, key)
        assert key_group(key) == java.assignToKeyGroup(selector.getKey(row), MAX_PARALLELISM), key


def test_java_hash_equals_javas() -> None:
    java = get_gateway().jvm.java.util.Objects
    for text in ("", "ACC00001", "IBM", "é-ü", "😀", "x" * 100):
        assert java_hash(text) == java.hashCode(text), text


def test_shards_of_numbered_accounts_are_about_even() -> None:
    sizes = Counter(shard_of(f"ACC{number:05d}", 16) for number in range(1_000))
    assert len(sizes) == 16
    assert max(sizes.values()) < 2 * min(sizes.values())
