"""What may be wrong with a new order in the random streams."""

from __future__ import annotations

from typing import Any

from trading_harness import NEXT_OPEN, OPEN, SECOND

DAY = NEXT_OPEN - OPEN
LENGTH = 23_400 * SECOND


def order_faults(open_ns: int, now_ns: int) -> list[dict[str, Any]]:
    """Fields that make an order wrong, or nearly; `open_ns`: the opening of the first session."""
    return [
        {"orderId": ""},
        {"orderId": "with space"},
        {"orderId": "x" * 65},
        {"accountId": "NOBODY"},
        {"symbol": "NONE"},
        {"symbol": "DEAD"},
        {"symbol": "SPX"},
        {"orderType": "UNKNOWN"},
        {"orderType": "STOP", "price": None, "stopPrice": None},
        {"orderType": "STOP", "price": 24_0000},
        {"orderType": "STOP_LIMIT", "price": 24_0000, "stopPrice": 0},
        {"orderType": "STOP_LIMIT", "price": None, "stopPrice": 24_0000},
        {"orderType": "STOP", "price": None, "stopPrice": 24_0025},
        {"orderType": "STOP", "price": None, "stopPrice": 10_000_000_100},
        {"stp": "UNKNOWN"},
        {"timeInForce": "UNKNOWN"},
        {"imbalanceOnly": True},
        {"orderType": "MARKET", "price": None, "stopPrice": None, "timeInForce": "CLS", "imbalanceOnly": True},
        {"side": "UNKNOWN"},
        {"side": "SELL_SHORT"},
        {"side": "SELL_SHORT_EXEMPT"},
        {"quantity": 0},
        {"quantity": -5},
        {"quantity": 1_000_000},
        {"quantity": 999_999},
        {"quantity": 100_001},
        {"price": None, "stopPrice": None, "orderType": "LIMIT"},
        {"price": 0, "stopPrice": None, "orderType": "LIMIT"},
        {"price": -100, "stopPrice": None, "orderType": "LIMIT"},
        {"price": 24_0050, "stopPrice": None, "orderType": "LIMIT"},
        {"price": 24_0000, "orderType": "MARKET"},
        {"price": 10_000_000_100, "stopPrice": None, "orderType": "LIMIT"},
        {"stopPrice": 24_0000},
        {"timestamp": open_ns - 3_601 * SECOND},
        {"timestamp": open_ns + LENGTH},
        {"timestamp": open_ns + 5},
        {"timestamp": now_ns + DAY},
    ]
