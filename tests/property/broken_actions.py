"""Rules of corporate actions and odd lots that are taken back one at a time; see broken_engines.py."""

from __future__ import annotations

ACTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("dividend lowers what waits above the market", "corporate_actions", "            or is_buy == waits\n", ""),
    (
        "sales of before a split become better for the market",
        "corporate_actions",
        "price = _divided(price, action, is_buy or waits, step)",
        "price = _divided(price, action, True, step)",
    ),
    ("reverse split keeps orders", "corporate_actions", "    elif action.is_reverse():\n", "    elif False:\n"),
    (
        "fill of before a split taken for one of after it",
        "split_desk",
        "if session_ns < split.open_ns and shares:",
        "if False:",
    ),
    (
        "split counted for the session that is noticed",
        "split_desk",
        "self._home(action, before, session)",
        "session",
    ),
    (
        "adjusted order keeps its reservation",
        "split_desk",
        "                rescale(order, waiting.action, waiting.tick_e4, waiting.entry_ns)\n",
        "                pass\n",
    ),
    ("fraction of a share is lost", "split_desk", "cash = rest * split.price_e4 // action.numerator", "cash = 0"),
    (
        "last price stays that of before",
        "guard",
        "        market.last_price = scaled_price(market.last_price, action)\n",
        "",
    ),
    (
        "order of before a split taken in",
        "match_shard",
        "            if self.protection.adjuster.is_too_old(frame.symbol, frame.timestamp):\n"
        '                self.reporter.note = "the order',
        '            if False:\n                self.reporter.note = "the order',
    ),
    (
        "a sale that costs more than it brings stays after a split",
        "order_adjuster",
        "return commission + fee_allowance_e4(worst) > worst",
        "return False",
    ),
    (
        "odd lots count in the national best",
        "protection",
        "own_bid = market.book.bids.displayed(market.print_lot)",
        "own_bid = market.book.bids.displayed(1)",
    ),
)
