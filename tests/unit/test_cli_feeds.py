"""`tradestream produce itch | vendor`: what they publish, and that the engines take it."""

import gzip
import io
import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.feeds import itch_writer as itch
from infra.feeds.items import Item, tick_items
from infra.feeds.publisher import Published
from infra.feeds.reference import reference_items
from infra.feeds.sessions import DEFAULT_DAY, midnight_ns, trading_day
from infra.feeds.vendor_router import MAX_PAYLOAD_BYTES, VendorRouter, route_lines
from jobs.cli import cli
from schemas.messages import market_data, market_status, raw_feed
from schemas.messages.enums import FEED_FORMAT_ITCH_50, FEED_FORMAT_VENDOR_JSON, MARKET_STATE_NAMES
from tests.unit.feed_system import SCHEMA_IDS, FeedSystem

DAY = DEFAULT_DAY
OPEN = 34_200_000_000_000
AT = midnight_ns(DAY) + OPEN
SECOND = 1_000_000_000


class FakePublisher:
    """Keeps what it is given."""

    played: list[Item]

    def __init__(self, *_arguments: object) -> None:
        FakePublisher.played = []

    def play(self, items: Iterable[Item], *_arguments: object, **_options: object) -> Published:
        FakePublisher.played = list(items)
        return Published({"raw-feed": len(self.played)} if self.played else {}, 1.0, False)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.feeds.publisher.Publisher", FakePublisher)
    monkeypatch.setattr("infra.feeds.publisher.feed_schema_ids", lambda _registry: SCHEMA_IDS)


def run(*words: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["produce", *words], input=stdin)


def records() -> list[raw_feed.RawFeedRecord]:
    return [raw_feed.decode(value, SCHEMA_IDS["raw-feed"]) for _, _, value, _ in FakePublisher.played]


def vendor_lines(*messages: dict[str, object]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def quote(symbol: str, time_ns: int, bid: str = "99.99", ask: str = "100.01") -> dict[str, object]:
    sides = {"bid": bid, "bidSize": 200, "ask": ask, "askSize": 300}
    return {"type": "quote", "symbol": symbol, "exchange": "Q", "time": time_ns} | sides


def halt(symbol: str, time_ns: int) -> dict[str, object]:
    return {"type": "halt", "symbol": symbol, "time": time_ns, "reason": "T1"}


def states(system: FeedSystem) -> dict[str, str]:
    status = [market_status.decode(value) for value in system.written["market-status"]]
    return {one.symbol: MARKET_STATE_NAMES[one.state] for one in status}


def listed() -> FeedSystem:
    """Both engines with two listed symbols."""
    system = FeedSystem()
    prices = {"AAPL": 1_000_000, "MSFT": 2_000_000}
    system.play(reference_items([trading_day(DAY)], prices, [], SCHEMA_IDS))
    return system


@pytest.mark.parametrize("packed", [False, True])
def test_itch_file_played_reaches_the_engines_and_its_halt_stops_one_symbol(tmp_path: Path, packed: bool) -> None:
    messages = [itch.stock_directory(7, OPEN, "AAPL"), itch.stock_directory(8, OPEN, "MSFT")]
    messages += [itch.trade(8, OPEN + 1, 100, "MSFT", 2_000_000, 2)]
    messages += [itch.trading_action(7, OPEN + SECOND, "AAPL", b"H", "T1")]
    plain = b"".join(len(message).to_bytes(2, "big") + message for message in messages)
    file = tmp_path / "day.NASDAQ_ITCH50"
    file.write_bytes(gzip.compress(plain) if packed else plain)

    result = run("itch", "--file", str(file), "--day", DAY.isoformat(), "--source", "itch-bx")

    assert result.exit_code == 0, result.output
    assert [record.payload for record in records()] == messages
    assert {(record.source, record.format) for record in records()} == {("itch-bx", FEED_FORMAT_ITCH_50)}
    assert [(key, at) for _, key, _, at in FakePublisher.played][-1] == (b"AAPL", AT + SECOND)
    system = listed()
    system.play(FakePublisher.played)
    assert states(system)["AAPL"] == "HALTED" and states(system).get("MSFT") != "HALTED"
    assert system.dead_letters() == {}


def test_itch_file_that_ends_within_a_message_fails_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "cut"
    file.write_bytes(itch_frame(itch.stock_directory(7, OPEN, "AAPL"))[:-1])
    result = run("itch", "--file", str(file), "--day", DAY.isoformat())
    assert result.exit_code == 1 and "ends within a message" in result.output


def itch_frame(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def test_vendor_file_played_reaches_the_engines_and_its_halt_stops_one_symbol(tmp_path: Path) -> None:
    file = tmp_path / "quotes.jsonl"
    file.write_bytes(vendor_lines(quote("AAPL", AT), quote("MSFT", AT + 1), halt("AAPL", AT + SECOND)))

    result = run("vendor", "--file", str(file))

    assert result.exit_code == 0, result.output
    assert {record.format for record in records()} == {FEED_FORMAT_VENDOR_JSON}
    assert [(record.feed_id, record.sequence) for record in records()] == [
        ("vendor/quotes.jsonl/AAPL", 1),
        ("vendor/quotes.jsonl/MSFT", 1),
        ("vendor/quotes.jsonl/AAPL", 2),
    ]
    system = listed()
    system.play(FakePublisher.played)
    assert len(system.written["nbbo"]) >= 2
    assert states(system)["AAPL"] == "HALTED" and states(system).get("MSFT") != "HALTED"
    assert system.dead_letters() == {}


def test_vendor_file_played_twice_is_dropped_as_a_copy_and_under_another_name_is_not() -> None:
    lines = [json.dumps(quote("AAPL", AT)).encode()]

    def play(system: FeedSystem, feed: str) -> int:
        before = len(system.written["market-data"])
        system.play(tick_items(route_lines(lines, VendorRouter(feed), fail), SCHEMA_IDS))
        return len(system.written["market-data"]) - before

    system = FeedSystem()
    assert [play(system, feed) for feed in ("a", "a", "b")] == [1, 0, 1]
    assert market_data.decode(system.written["market-data"][0]).symbol == "AAPL"


def fail(number: int, reason: str) -> None:
    raise AssertionError(f"line {number}: {reason}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "65536"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "names no symbol"),
        (b'{"type": "quote"}', "names no symbol"),
        (b'{"symbol": 7}', "names no symbol"),
        (b'{"symbol": " * "}', "names no symbol"),
        (b'{"symbol": "\\ud800"}', "ASCII"),
        (b'{"symbol": "' + b"A" * 65 + b'"}', "at most 64"),
        (b'{"symbol": "A", "x": "' + b"x" * MAX_PAYLOAD_BYTES + b'"}', "65536"),
    ],
)
def test_vendor_line_that_cannot_be_routed_is_told_with_its_number(line: bytes, reason: str) -> None:
    result = run("vendor", "--file", "-", "--feed", "f", stdin=vendor_lines(quote("AAPL", AT)) + b"\n" + line + b"\r\n")
    assert result.exit_code == 0
    assert "line 3: " in result.output and reason in result.output and "1 bad lines were skipped" in result.output
    assert [record.symbol for record in records()] == ["AAPL"]
    assert run("vendor", "--file", "-", "--feed", "f", stdin=line + b"\n").exit_code == 1


def test_vendor_line_that_is_wrong_goes_out_untouched_and_becomes_a_dead_letter() -> None:
    line = json.dumps(quote("AAPL", AT, bid="-1")).encode() + b" "
    result = run("vendor", "--file", "-", "--feed", "f", stdin=line + b"\r\n")
    assert result.exit_code == 0 and records()[0].payload == line
    system = FeedSystem()
    system.play(FakePublisher.played)
    assert sum(system.dead_letters().values()) == 1


def test_vendor_line_without_a_time_is_paced_by_the_line_before() -> None:
    bad = quote("AAPL", AT) | {"time": "soon"}
    ticks = route_lines(io.BytesIO(vendor_lines(bad, quote("BRK/B", AT), bad)), VendorRouter("f"), fail)
    assert [(tick.time_ns, tick.record.symbol) for tick in ticks] == [(0, "AAPL"), (AT, "BRK.B"), (AT, "AAPL")]


@pytest.mark.parametrize("words", [(), ("--feed", "a/b"), ("--feed", "x" * 81)])
def test_vendor_feed_from_stdin_needs_a_plain_name(words: tuple[str, ...]) -> None:
    result = run("vendor", "--file", "-", *words, stdin=b"{}\n")
    assert result.exit_code == 2 and "--feed" in result.output


def test_day_of_an_itch_file_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "day"
    file.write_bytes(b"")
    assert run("itch", "--file", str(file)).exit_code == 2
    assert run("itch", "--file", str(file), "--day", str(date(2026, 1, 5))).exit_code == 0
