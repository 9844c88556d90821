"""Reading Lean's tick files."""

import zipfile
from datetime import date
from pathlib import Path

import pytest

from infra.feeds.lean import LeanError, find_lean_files, first_prices, read_lean
from infra.feeds.sessions import midnight_ns
from schemas.messages.enums import FEED_FORMAT_LEAN_QUOTE, FEED_FORMAT_LEAN_TRADE

DAY = date(2013, 10, 7)
BASE = 1_381_118_400_000_000_000
TICKS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "lean_tick"


def write(folder: Path, name: str, lines: bytes, member: str = "20131007_ibm_Quote_Tick.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, lines)
    return path


def test_ticks_of_a_day_are_merged_by_time_quotes_first(tmp_path: Path) -> None:
    write(tmp_path / "ibm", "20131007_quote.zip", b"100,1,1,0,0,N,1,0\r\n200,2,1,0,0,N,1,0\n200,3,1,0,0,N,1,0\n")
    write(tmp_path / "ibm", "20131007_trade.zip", b"50,9,1,N,1,0\n200,8,1,N,1,0\n", "20131007_ibm_Trade_Tick.csv")
    ticks = list(read_lean(find_lean_files([tmp_path])))
    assert [(tick.time_ns - BASE) // 1_000_000 for tick in ticks] == [50, 100, 200, 200, 200]
    assert [tick.record.payload for tick in ticks] == [
        b"50,9,1,N,1,0",
        b"100,1,1,0,0,N,1,0",
        b"200,2,1,0,0,N,1,0",
        b"200,3,1,0,0,N,1,0",
        b"200,8,1,N,1,0",
    ]
    quote, trade = ticks[1].record, ticks[0].record
    assert (quote.source, quote.format, quote.feed_id) == ("lean", FEED_FORMAT_LEAN_QUOTE, "lean/IBM/20131007_quote")
    assert (trade.format, trade.feed_id) == (FEED_FORMAT_LEAN_TRADE, "lean/IBM/20131007_trade")
    assert [tick.record.sequence for tick in ticks] == [1, 1, 2, 3, 2]
    assert {tick.record.symbol for tick in ticks} == {"IBM"}
    assert {tick.record.base_time_ns for tick in ticks} == {BASE}


def test_days_follow_each_other_and_a_broken_line_goes_out_as_it_is(tmp_path: Path) -> None:
    second = write(tmp_path, "20131008_quote.zip", b"1,1,1,0,0,N,1,0\n", "20131008_brk.b_Quote_Tick.csv")
    first = write(tmp_path, "20131007_quote.zip", b"7,1,1,0,0,N,1,0\njunk\n5,1,1,0,0,N,1,0\n", "other.csv")
    files = find_lean_files([second, first, first])
    assert [(file.day.day, file.symbol) for file in files] == [(7, tmp_path.name.upper()), (8, "BRK.B")]
    ticks = list(read_lean(files))
    assert [tick.record.payload[:4] for tick in ticks] == [b"7,1,", b"junk", b"5,1,", b"1,1,"]
    assert [tick.time_ns for tick in ticks] == sorted(tick.time_ns for tick in ticks)


@pytest.mark.parametrize(
    ("day", "offset_hours"),
    [(date(2013, 10, 7), 4), (date(2013, 12, 2), 5), (date(2026, 3, 8), 5), (date(2026, 3, 9), 4)],
)
def test_midnight_follows_daylight_saving(day: date, offset_hours: int) -> None:
    days = (day - date(1970, 1, 1)).days
    assert midnight_ns(day) == (days * 24 + offset_hours) * 3_600 * 1_000_000_000


def test_first_price_is_the_first_trade_or_else_the_first_quote(tmp_path: Path) -> None:
    write(tmp_path / "a", "20131007_quote.zip", b"1,0,0,77,1,N,1,0\n", "20131007_aaa_Quote_Tick.csv")
    write(tmp_path / "b", "20131007_quote.zip", b"1,0,0,77,1,N,1,0\n", "20131007_bbb_Quote_Tick.csv")
    write(tmp_path / "b", "20131007_trade.zip", b"2,x,1,N,1,0\n3,66,1,N,1,0\n", "20131007_bbb_Trade_Tick.csv")
    assert first_prices(find_lean_files([tmp_path])) == {"AAA": 77, "BBB": 66}


def test_unusable_files_are_refused_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(LeanError, match="does not exist"):
        find_lean_files([tmp_path / "none"])
    with pytest.raises(LeanError, match="no files named like"):
        find_lean_files([tmp_path])
    with pytest.raises(LeanError, match="at least one"):
        find_lean_files([])
    with pytest.raises(LeanError, match="is no date"):
        find_lean_files([write(tmp_path, "20131399_quote.zip", b"")])
    with pytest.raises(LeanError, match="the name of a tick file"):
        find_lean_files([write(tmp_path, "ticks.zip", b"")])
    broken = tmp_path / "20131009_quote.zip"
    broken.write_bytes(b"PK no zip")
    with pytest.raises(LeanError, match="cannot be read as a zip"):
        find_lean_files([broken])
    empty = write(tmp_path, "20131010_quote.zip", b"junk\n")
    with pytest.raises(LeanError, match="no price"):
        first_prices(find_lean_files([empty]))


def test_real_files_give_every_line() -> None:
    if not TICKS.is_dir():
        pytest.skip(f"no real ticks at {TICKS}")
    files = find_lean_files([TICKS])
    assert [(file.day, file.kind, file.symbol) for file in files][:2] == [(DAY, "quote", "IBM"), (DAY, "trade", "IBM")]
    assert first_prices(files) == {"IBM": 1_815_200}
    count = 0
    last_ns = 0
    for tick in read_lean(files[:2]):
        assert tick.time_ns >= last_ns
        last_ns = tick.time_ns
        count += 1
    assert count == 109_067 + 24_293
