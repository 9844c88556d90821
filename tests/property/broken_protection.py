"""Rules of switches, halts, bands and pauses that are taken back, in the form of broken_engines.py."""

from __future__ import annotations

Broken = tuple[str, str, str, str]

OPERATORS: tuple[Broken, ...] = (
    (
        "kill switch cancels nothing",
        "match_shard",
        "            self.matcher.cancel(key, REASON_CODE_CANCEL_KILL_SWITCH)\n",
        "            pass\n",
    ),
    (
        "orders on their way pass the kill switch",
        "match_shard",
        "if late or self._is_killed(frame.account_id, frame.symbol):",
        "if late:",
    ),
    ("kill switch unlocked", "switches", "            if mode == MODE_KILL:\n", "            if mode < MODE_ACTIVE:\n"),
    (
        "reduce-only weakens the kill switch",
        "desk_controls",
        "account.mode = MODE_ACTIVE if mode == MODE_ACTIVE else max(mode, account.mode)",
        "account.mode = mode",
    ),
    ("resumed symbol stays off", "match_shard", "            del self.killed_symbols[target]\n", "            pass\n"),
    (
        "restricted list ignored",
        "switches",
        "        if symbol in self.restricted:\n",
        "        if symbol in self.symbols:\n",
    ),
    (
        "control applied twice",
        "desk_controls",
        "if self.seen.status_of(control.control_id, 0) == _APPLIED:",
        "if False:",
    ),
    (
        "halt ignored",
        "protection",
        "if guard.halted or self.halted_all or self.breaker_halted:",
        "if self.halted_all or self.breaker_halted:",
    ),
    ("index does not halt", "protection", "            self.breaker_halted = True\n", "            pass\n"),
    (
        "limit state without an end",
        "luld",
        "self._limit_ends_ns = self._time_ns + terms.limit_state_ns",
        "self._limit_ends_ns = self._close_ns",
    ),
    ("straddle state not told", "guard", "            detail,\n", "            None,\n"),
    (
        "pause without a straddle state",
        "protection",
        "if guard.bands.state != STRADDLE:",
        "if guard.bands.state == PAUSED:",
    ),
    ("pause that does not pause", "protection", "        guard.bands.pause(self.clock_ns)\n", ""),
    (
        "pause whose end is forgotten",
        "protection",
        "        self.refresh(guard, MARKET_CAUSE_CONTROL)\n        self.deadline_ns = self._next_deadline()\n",
        "        self.refresh(guard, MARKET_CAUSE_CONTROL)\n",
    ),
    ("fall without a restriction", "short_sale", "            self.restricted = True\n", "            pass\n"),
    (
        "short sale at our own bid",
        "matching",
        "floor = (own if bid is None or own > bid else bid) + market.tick_e4",
        "floor = (own if bid is None else bid) + market.tick_e4",
    ),
    (
        "resting short sale sent to a bid",
        "matching",
        "        if market.short_restricted:\n",
        "        if market.stops is None:\n",
    ),
    (
        "short sale at the bid in an auction",
        "uncrossing",
        "    floor += market.tick_e4\n",
        "",
    ),
    (
        "short sale that waited for the opening at the bid",
        "uncrossing",
        "                order.worst_price = floor\n",
        "                pass\n",
    ),
    (
        "short limit order of an auction at the bid",
        "uncrossing",
        "            order.worst_price = floor\n    if",
        "            pass\n    if",
    ),
    (
        "short market order of an auction at the bid",
        "uncrossing",
        "return price < short_floor and order.side == SIDE_SELL_SHORT",
        "return False",
    ),
    (
        "short sale on close at our own bid",
        "uncrossing",
        "        floor = max(floor, market.book.bids.displayed(market.print_lot))\n",
        "        pass\n",
    ),
    (
        "bands not due after a halt",
        "protection",
        "        self.deadline_ns = self._next_deadline()\n\n    def index",
        "\n    def index",
    ),
    ("short sale at the bid", "matching", "if market.short_restricted and order.side == SIDE_SELL_SHORT:", "if False:"),
)
