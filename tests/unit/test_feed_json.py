"""The vendor's JSON messages: exact numbers, units, times, exchanges, and a reason for every refusal."""

import json
import random
from fractions import Fraction

import pytest

from schemas.messages.enums import FEED_FORMAT_VENDOR_JSON
from tests.unit.feed_bench import BASE, OPEN, FeedBench
from udfs.domain.normalise import price_e4

QUOTE = {"type": "quote", "symbol": "AAPL", "exchange": "Q", "time": BASE + OPEN, "bid": "100", "bidSize": 100}
TRADE = {"type": "trade", "symbol": "AAPL", "exchange": "Q", "time": BASE + OPEN, "price": "100", "size": 100}


def test_quote_takes_numbers_and_texts_and_keeps_the_side_that_it_does_not_name() -> None:
    bench = FeedBench()
    bench.text('{"type":"quote","symbol":"AAPL","exchange":"NASDAQ","time":"2026-01-05T09:30:00.123456789-05:00",'
               '"bid":491.25,"bidSize":"200","ask":"491.3000","askSize":300}')  # fmt: skip
    bench.json(type="quote", ask=491.29, askSize=100)
    bench.json(type="quote", bid=None, bidSize=None)
    bench.json(type="quote", ask="491.29", askSize=0)
    events = bench.events()
    assert [(e.bid_price, e.bid_size, e.ask_price, e.ask_size) for e in events] == [
        (4_912_500, 200, 4_913_000, 300),
        (4_912_500, 200, 4_912_900, 100),
        (None, 0, 4_912_900, 100),
        (None, 0, None, 0),
    ]
    assert (events[0].timestamp, events[0].exchange) == (BASE + OPEN + 123_456_789, "XNAS")
    assert (events[0].event_id, events[0].source) == ("vendor/1-1", "vendor")


def test_trade_correction_and_cancel_refer_to_the_trade() -> None:
    bench = FeedBench()
    bench.json(type="trade", price="100.01", size=300, id="T-1", conditions="@ F")
    bench.json(type="trade", price="100.02", size=200, id="T-2")
    bench.json(type="correction", price="100.05", size=100, id="T-2", time=BASE + OPEN + 7)
    best = bench.nbbo()
    assert best is not None and (best.last_price, best.trade_count) == (1_000_500, 2)
    bench.json(type="correction", price="100.04", size=50, id="T-2", conditions="I")
    bench.json(type="cancel", id="T-2")
    best = bench.nbbo()
    assert best is not None and best.last_price == 1_000_100
    changes = bench.events()[2:]
    assert bench.kinds() == ["TRADE", "TRADE", "CORRECTION", "CORRECTION", "CANCEL"]
    assert [(c.last_price, c.volume, c.eligible) for c in changes] == [
        (1_000_500, 100, True),
        (1_000_400, 50, False),
        (None, 0, None),
    ]
    assert [(c.original_price, c.original_volume, c.original_eligible) for c in changes] == [
        (1_000_200, 200, True),
        (1_000_500, 100, True),
        (1_000_400, 50, False),
    ]
    assert {c.original_event_id for c in changes} == {"vendor/1-2"}
    assert {c.original_timestamp for c in changes} == {BASE + OPEN}
    bench.json(type="cancel", id="T-9")
    assert bench.letters() == [
        ("LATE", "trade T-9 of source vendor is not known: it was taken back, did not come, or is older than the "
         "trades that are kept")
    ]  # fmt: skip
    assert (bench.counted("corrections"), bench.counted("cancels"), bench.counted("trades")) == (2, 1, 2)


def test_correction_of_an_earlier_trade_leaves_the_last_price() -> None:
    bench = FeedBench()
    bench.json(type="trade", price="100.01", size=300, id="T-1")
    bench.json(type="trade", price="100.02", size=200)
    bench.json(type="correction", price="90", size=300, id="T-1")
    best = bench.nbbo()
    assert best is not None and best.last_price == 1_000_200


CONDITIONS = [
    ("@", True),
    ("@ F", True),
    ("@FI", False),
    ("T", False),
    ("Z", False),
    ("W", False),
    ("O", True),
    ("", True),
]


@pytest.mark.parametrize(("conditions", "eligible"), CONDITIONS)
def test_sale_conditions_decide_whether_a_trade_sets_the_price(conditions: str, eligible: bool) -> None:
    bench = FeedBench()
    bench.json(type="trade", price=100, size=100, conditions=conditions)
    (event,) = bench.events()
    assert (event.eligible, event.sale_condition) == (eligible, conditions or None)
    assert (bench.nbbo() is not None) == eligible


TIMES = [
    (1_767_623_400_000_000_001, {}, 1_767_623_400_000_000_001),
    ("1767623400000000001", {"timeUnit": "ns"}, 1_767_623_400_000_000_001),
    (1_767_623_400_000_001, {"timeUnit": "us"}, 1_767_623_400_000_001_000),
    (1_767_623_400_001, {"timeUnit": "ms"}, 1_767_623_400_001_000_000),
    (1_767_623_400, {"timeUnit": "s"}, 1_767_623_400_000_000_000),
    ("2026-01-05T14:30:00Z", {}, 1_767_623_400_000_000_000),
    ("2026-01-05T14:30:00.5Z", {}, 1_767_623_400_500_000_000),
    ("2026-01-05T14:30:00.000000001+00:00", {}, 1_767_623_400_000_000_001),
    ("2026-01-05T09:30:00.123456-05:00", {}, 1_767_623_400_123_456_000),
]


@pytest.mark.parametrize(("time", "unit", "expected"), TIMES)
def test_time_is_read_to_the_nanosecond(time: object, unit: dict[str, object], expected: int) -> None:
    bench = FeedBench()
    bench.json(type="trade", price=100, size=100, time=time, **unit)
    assert [event.timestamp for event in bench.events()] == [expected]


def test_units_of_prices_and_sizes() -> None:
    bench = FeedBench()
    bench.json(type="quote", bid="10025.25", bidSize=3, priceUnit="minor", sizeUnit="lots")
    bench.json(type="quote", bid="260", bidSize=3, priceUnit="major", sizeUnit="lots")
    bench.json(type="trade", price="10025", size=5, priceUnit="minor", sizeUnit="shares")
    events = bench.events()
    assert [(e.bid_price, e.bid_size) for e in events[:2]] == [(1_002_525, 300), (2_600_000, 120)]
    assert (events[2].last_price, events[2].volume) == (1_002_500, 5)


def test_quote_that_is_not_firm_is_told_but_does_not_count() -> None:
    bench = FeedBench()
    bench.json(type="quote", bid="100", bidSize=100, firm=False)
    assert (bench.kinds(), bench.nbbo(), bench.counted("not_firm")) == (["QUOTE"], None, 1)


REFUSED = [
    ("", "UNDECODABLE", "not one flat JSON object"),
    ("{", "UNDECODABLE", "message is not JSON"),
    ('"{"', "UNDECODABLE", "not one flat JSON object"),
    ('{"type":{}}', "UNDECODABLE", "not one flat JSON object"),
    ('{"type":[1]}', "UNDECODABLE", "not one flat JSON object"),
    ("[" * 2_000, "UNDECODABLE", "not one flat JSON object"),
    ('{"type":"quote","type":"trade"}', "UNDECODABLE", "whose members come once"),
    ('{"type":NaN}', "UNDECODABLE", "NaN is not a value of JSON"),
    ('{"type":"quote"} {', "UNDECODABLE", "not one flat JSON object"),
    ('{"type":"\\ud800"}', "INVALID_VALUE", "type must be printable ASCII"),
    ("{" + " " * 3_000 + "}", "UNDECODABLE", "message of 3002 bytes, at most 2048 are read"),
    ({"type": None}, "UNDECODABLE", "type is missing or no text"),
    ({"type": "news"}, "UNSUPPORTED", "message type 'news' is not known"),
    ({"symbol": "MSFT"}, "INVALID_VALUE", "about MSFT but came under symbol AAPL"),
    ({"symbol": None}, "UNDECODABLE", "symbol is missing or no text"),
    ({"exchange": "LSE"}, "INVALID_VALUE", "exchange 'LSE' is not known"),
    ({"time": "yesterday"}, "UNDECODABLE", "time is neither ISO 8601"),
    ({"time": "2026-01-05T14:30:00"}, "UNDECODABLE", "time is neither ISO 8601"),
    ({"time": "2026-01-05T14:30Z"}, "UNDECODABLE", "time is neither ISO 8601"),
    ({"time": "2026-01-05T14:30:00.1234567890Z"}, "UNDECODABLE", "time is neither ISO 8601"),
    ({"time": "2026-01-05T14:30:00,5Z"}, "UNDECODABLE", "time is neither ISO 8601"),
    ({"time": "2026-13-05T14:30:00Z"}, "UNDECODABLE", "time is neither ISO 8601"),
    ({"time": "2300-01-05T14:30:00Z"}, "INVALID_VALUE", "not between 1970 and 2200"),
    ({"time": "1969-01-05T14:30:00Z"}, "UNDECODABLE", "time"),
    ({"timeUnit": "days"}, "INVALID_VALUE", "timeUnit is none of"),
    ({"price": "100.00001"}, "INVALID_VALUE", "price=100.00001 has more decimals"),
    ({"price": "-1"}, "INVALID_VALUE", "price is negative: '-1'"),
    ({"price": "1e2"}, "UNDECODABLE", "price is not a plain decimal: '1e2'"),
    ({"price": "+1"}, "UNDECODABLE", "price is not a plain decimal"),
    ({"price": ".5"}, "UNDECODABLE", "price is not a plain decimal"),
    ({"price": "5."}, "UNDECODABLE", "price is not a plain decimal"),
    ({"price": "٣"}, "UNDECODABLE", "price is not a plain decimal"),
    ({"price": True}, "UNDECODABLE", "price is not a plain decimal"),
    ({"price": "1000000.0001"}, "INVALID_VALUE", "price=1000000.0001 is above the limit"),
    ({"price": "0.001", "priceUnit": "minor"}, "INVALID_VALUE", "has more decimals than 1/10,000"),
    ({"priceUnit": "pence"}, "INVALID_VALUE", "priceUnit is neither major nor minor"),
    ({"sizeUnit": "pieces"}, "INVALID_VALUE", "sizeUnit is neither shares nor lots"),
    ({"price": None}, "INVALID_VALUE", "trade without price or size"),
    ({"size": 0}, "INVALID_VALUE", "trade without price or size"),
    ({"size": "-5"}, "INVALID_VALUE", "size is negative"),
    ({"size": 1.5}, "UNDECODABLE", "size is not a whole number: '1.5'"),
    ({"size": 10**9}, "INVALID_VALUE", "size=1000000000 is above the limit"),
    ({"size": 10**30}, "UNDECODABLE", "size is not a whole number"),
    ({"id": 7.5, "type": "cancel", "x": None}, "LATE", "trade 7.5 of source vendor is not known"),
    ({"type": "cancel"}, "UNDECODABLE", "id is missing or no text"),
    ({"type": "correction"}, "UNDECODABLE", "id is missing or no text"),
    ({"id": "x" * 65}, "INVALID_VALUE", "id must be printable ASCII of at most 64"),
    ({"conditions": "\n"}, "INVALID_VALUE", "conditions must be printable ASCII"),
    (QUOTE | {"ask": "99", "askSize": 100}, "INVALID_VALUE", "locked or crossed"),
    (QUOTE | {"bid": None}, "INVALID_VALUE", "bidSize=100 without a bidPrice"),
    (QUOTE | {"firm": "yes"}, "UNDECODABLE", "firm is neither true nor false"),
    ({"type": "quote", "symbol": "AAPL", "exchange": "Q", "time": 1}, "UNDECODABLE", "a quote without any side"),
]


@pytest.mark.parametrize(("message", "reason", "words"), REFUSED)
def test_refused_message_becomes_one_dead_letter_with_its_reason(
    message: str | dict[str, object], reason: str, words: str
) -> None:
    bench = FeedBench()
    if isinstance(message, str):
        bench.text(message)
    else:
        whole = message if "bid" in message or message.get("type") == "quote" else TRADE | message
        bench.text(json.dumps(whole))
    ((found, detail),) = bench.letters()
    assert (found, words in detail) == (reason, True), detail
    assert bench.events() == []


def test_prices_are_exact_decimals() -> None:
    for text in ("0", "0.0001", "491.25", "491.2500000", "7.1", "999999999999999.9999", "0.29"):
        assert price_e4(text) == Fraction(text) * 10_000
    assert [price_e4(text) for text in ("", "1.2.3", "1,5", " 1", "1_0", "0x1", "1" * 21)] == [-1] * 7
    assert price_e4("0.00001") == -2


def test_damaged_messages_end_as_dead_letters_and_never_raise() -> None:
    refused = 0
    for seed in range(30):
        rng = random.Random(seed)
        bench = FeedBench()
        for number in range(100):
            whole = bytearray(json.dumps(rng.choice((TRADE, QUOTE)) | {"id": f"T{number}"}).encode())
            for _ in range(rng.randint(0, 4)):
                whole[rng.randrange(len(whole))] = rng.choice(b'{}":,.-0123456789e\\nu \xff\x00')
            bench.record(FEED_FORMAT_VENDOR_JSON, bytes(whole), "AAPL", "v", "vendor")
        bench.shard.flush()
        counted = dict(bench.shard.counters.items())
        assert counted["quotes"] + counted["trades"] + counted["refused"] == counted["records"] == 100, seed
        assert len(bench.letters()) == counted["refused"]
        refused += counted["refused"]
    assert 1_000 < refused < 2_900
