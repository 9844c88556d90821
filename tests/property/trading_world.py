"""The small world of the random streams: few accounts, symbols, prices and days, so that everything meets everything."""

from __future__ import annotations

from trading_harness import SECOND

ACCOUNTS = ("A1", "A2", "A3", "A4", "POOR", "TIGHT", "GUARD", "SHUT")
WEIGHTS = (6, 6, 6, 6, 3, 3, 3, 1)
SYMBOLS = ("IBM", "PENNY", "DEAR")
PRICES = {"IBM": 24_0000, "PENNY": 9900, "DEAR": 612_0000}
LISTED_AT = {"IBM": "XNYS", "PENNY": "XNAS", "DEAR": "Q"}
"""Where closing orders have other cut-offs: Nasdaq, by its code and by its letter."""
TICKS = {"IBM": 100, "PENNY": 50, "DEAR": 500}
CLOSES = {"IBM": 24_5000, "PENNY": 1_1000, "DEAR": 640_0000}
"""Closes of the day before: PENNY falls to 90% of it at its usual price."""
EXCHANGES = ("XNYS", "XNAS", "ARCX", "BATS", "IEXG")
MINUTE = 60 * SECOND
ERAS = (0, 800, 871, 1_500)
"""Days after OPEN: in 2023, after the round lots of 2025, on the day before Section 31 fees begin in 2026, after the half
penny of 2027."""
LIMITS = (
    ("ORDER_QUANTITY", (50, 300, 100_000)),
    ("ORDER_NOTIONAL", (2_000_0000, 100_000_0000)),
    ("POSITION", (200, 5_000)),
    ("DAILY_NOTIONAL", (None, 20_000_0000, 2_000_000_0000)),
    ("ORDER_RATE", (None, 0, 1, 3)),
    ("OPEN_ORDERS", (None, 1, 5)),
    ("CONCENTRATION", (None, 100, 1_000, 3_000)),
    ("PRICE_DEVIATION", (None, 10, 500)),
)
