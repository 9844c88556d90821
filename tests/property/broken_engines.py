"""Rules that are taken back one at a time: (name, module of udfs.domain, what is there, what is put there).

The text that is there must be there exactly once, so that a change of the engine that moves it is noticed.
"""

from __future__ import annotations

from broken_actions import ACTIONS
from broken_cash import CASH
from broken_close_outs import CLOSE_OUTS
from broken_protection import OPERATORS

Broken = tuple[str, str, str, str]

PRIORITY: tuple[Broken, ...] = (
    (
        "youngest order first",
        "filling",
        "maker = level.head\n            if maker is None:",
        "maker = level.tail\n            if maker is None:",
    ),
    (
        "worst bid first",
        "book",
        "level = Level(price, -price if self.is_bid else price)",
        "level = Level(price, price)",
    ),
    (
        "street sweep youngest first",
        "matching",
        'order = level.head\n            if order is None:\n                raise InvariantViolation(f"the best bid',
        'order = level.tail\n            if order is None:\n                raise InvariantViolation(f"the best bid',
    ),
    (
        "place kept with another price",
        "matching",
        "elif limit_price == order.limit_price and quantity <= order.quantity:",
        "elif quantity <= order.quantity:",
    ),
    (
        "place kept with more shares",
        "matching",
        "elif limit_price == order.limit_price and quantity <= order.quantity:\n            if quantity < order.quantity:",
        "elif limit_price == order.limit_price:\n            if quantity != order.quantity:",
    ),
    (
        "place lost with fewer shares",
        "matching",
        "elif limit_price == order.limit_price and quantity <= order.quantity:",
        "elif limit_price == order.limit_price and quantity == order.quantity:",
    ),
    (
        "stop keeps its place with another stop price",
        "matching",
        "stays = (stop_price is None or stop_price == order.stop_price) and quantity <= order.quantity",
        "stays = quantity <= order.quantity",
    ),
    ("last stop triggered acts first", "stops", "into.append(order)", "into.insert(0, order)"),
    (
        "auction without time priority",
        "uncrossing",
        "else _LIMIT_ORDER, signed, order.rank, order))",
        "else _LIMIT_ORDER, signed, -order.rank, order))",
    ),
    ("market orders last in an auction", "uncrossing", "_MARKET_ORDER: Final = 0", "_MARKET_ORDER: Final = 2"),
    ("imbalance-only orders first", "uncrossing", "_IMBALANCE_ONLY: Final = 2", "_IMBALANCE_ONLY: Final = -1"),
)

PRICE: tuple[Broken, ...] = (
    (
        "trade at the taker's price",
        "filling",
        "        price = level.price\n",
        "        price = order.worst_price\n",
    ),
    (
        "trade through a better quote",
        "routing",
        "inside_price <= worst_price and (street_price == 0 or inside_price <= street_price)",
        "inside_price <= worst_price",
    ),
    (
        "sale through a better quote",
        "routing",
        "inside_price >= worst_price and (street_price == 0 or inside_price >= street_price)",
        "inside_price >= worst_price",
    ),
    (
        "purchase away beyond its limit",
        "routing",
        "street_price > 0 and street_price <= worst_price",
        "street_price > 0",
    ),
    (
        "collar rounded inwards",
        "rules",
        "return round_up(raw, price_increment(raw, tick_e4))",
        "return round_down(raw, price_increment(raw, tick_e4))",
    ),
    (
        "purchase beyond the price band",
        "matching",
        "                order.worst_price = market.high\n",
        "                pass\n",
    ),
    (
        "resting orders stay beyond a band",
        "matching",
        "                    order.worst_price = band\n",
        "                    pass\n",
    ),
    (
        "quote beyond a band taken",
        "street",
        "return price > 0 and price >= self.low and (self.high == 0 or price <= self.high)",
        "return price > 0",
    ),
    (
        "band rounded down",
        "luld_tables",
        "upper = (reference_e4 * 10_000 + width + cent // 2) // cent * CENT_E4",
        "upper = (reference_e4 * 10_000 + width) // cent * CENT_E4",
    ),
    (
        "mean rounded down",
        "trade_window",
        "return (2 * self.price_sum + self.count) // (2 * self.count)",
        "return self.price_sum // self.count",
    ),
    ("auction not under pressure", "auction", "    if not pressed:\n", "    if pressed or not pressed:\n"),
    (
        "auction with more imbalance",
        "auction",
        "if executed == 0 or executed < quantity or (executed == quantity and rest > imbalance):",
        "if executed == 0 or executed < quantity or (executed == quantity and rest < imbalance):",
    ),
    (
        "imbalance-only sells beyond the imbalance",
        "auction",
        "sells += sold if sold < excess else excess",
        "sells += sold",
    ),
    (
        "imbalance-only buys beyond the imbalance",
        "auction",
        "buys += bought if bought < -excess else -excess",
        "buys += bought",
    ),
    (
        "imbalance-only buy above the best bid",
        "uncrossing",
        "        return bid if 0 < bid < order.worst_price else order.worst_price\n",
        "        return order.worst_price\n",
    ),
    (
        "imbalance-only sale below the best ask",
        "uncrossing",
        "    return ask if ask > order.worst_price else order.worst_price\n",
        "    return order.worst_price\n",
    ),
    (
        "auction beyond what was reserved",
        "uncrossing",
        "return price > order.worst_price if order.is_buy else price < order.worst_price",
        "return False",
    ),
    (
        "stop beyond what was reserved",
        "matching",
        "if reserved_at > 0 and (reserved_at < price if order.is_buy else reserved_at > price):",
        "if False:",
    ),
    (
        "deviation rounded down",
        "limits",
        "found = -(-beyond * 10_000 // reference)",
        "found = beyond * 10_000 // reference",
    ),
)

EXCHANGES: tuple[Broken, ...] = (
    ("displayed size used twice", "street", "        venue.ask_size -= quantity\n", ""),
    (
        "same quote used again",
        "street",
        "old.exchange == quote.exchange and old.timestamp == quote.timestamp",
        "False",
    ),
    ("smaller exchange first", "street", "venue.bid_size > bid.bid_size", "venue.bid_size < bid.bid_size"),
    ("dearer exchange first", "street", "return fee < other or", "return fee > other or"),
    ("old quotes accepted", "street", "return not self.known or sequence > self.sequence", "return True"),
    ("quotes kept over night", "protection", "            guard.market.street.forget()\n", ""),
)

STOPS: tuple[Broken, ...] = (
    (
        "stop triggered by a quote",
        "matching",
        "        bids = market.book.bids\n        street = market.street\n",
        "        bids = market.book.bids\n        street = market.street\n"
        "        if street.ask_price:\n            market.stops.take_triggered(street.ask_price, self.triggered)\n",
    ),
    ("odd lot triggers", "filling", "            if part >= market.print_lot:\n", "            if part:\n"),
    (
        "prints of exchanges do not trigger",
        "matching",
        "            market.stops.take_triggered(high, self.triggered)\n",
        "            pass\n",
    ),
    (
        "low of the prints is not looked at",
        "matching",
        "                market.stops.take_triggered(low, self.triggered)\n",
        "                pass\n",
    ),
    (
        "last print does not trigger on arrival",
        "matching",
        "if last > 0 and (last >= stop_price if order.is_buy else last <= stop_price):",
        "if False:",
    ),
    (
        "round lots of 2023 for ever",
        "rules",
        "if tier.effective_from_ns > time_ns or tier.effective_from_ns == found_from or price_e4 > tier.up_to_e4:",
        "if tier.effective_from_ns or tier.effective_from_ns == found_from or price_e4 > tier.up_to_e4:",
    ),
)

INSTRUCTIONS: tuple[Broken, ...] = (
    ("fill or kill without exchanges", "matching", "in market.street.venues:", "in market.street.venues[:0]:"),
    ("fill or kill without a scan", "matching", "not self._can_fill(market, order)", "False"),
    (
        "fill or kill counts what its own order bars",
        "book",
        "                    self.blocked = price\n",
        "",
    ),
    (
        "immediate order rests",
        "matching",
        "may_rest = is_limit and time_in_force in (TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC)",
        "may_rest = is_limit and time_in_force != TIME_IN_FORCE_FOK",
    ),
    (
        "self-trades happen",
        "book",
        "self.stp_key: str = stp_key if stp_key else account_id",
        "self.stp_key: str = key",
    ),
    (
        "self-trades within a group happen",
        "book",
        "self.stp_key: str = stp_key if stp_key else account_id",
        "self.stp_key: str = account_id",
    ),
    (
        "self-trade prevention ends the wrong order",
        "filling",
        "if mode != STP_MODE_EXPIRE_TAKER:",
        "if mode == STP_MODE_EXPIRE_TAKER:",
    ),
    (
        "decrement off by one",
        "filling",
        "            order.quantity -= overlap\n",
        "            order.quantity -= overlap - 1\n",
    ),
    (
        "expiry a moment late",
        "matching",
        "            if order.close_ns <= clock_ns:\n                ended",
        "            if order.close_ns < clock_ns:\n                ended",
    ),
    ("day orders do not expire", "matching", "        for order in ended:\n", "        for order in ended[:0]:\n"),
    (
        "good till cancelled expires",
        "order_desk",
        "end_ns = NEVER_NS if command.time_in_force == TIME_IN_FORCE_GTC else session.close_ns",
        "end_ns = session.close_ns",
    ),
    (
        "on-open order stays after the auction",
        "uncrossing",
        "            filler.end_queued(order, REASON_CODE_MATCH_AUCTION_UNFILLED)\n",
        "            queue.append(order)\n",
    ),
    (
        "order accepted at the close",
        "validation",
        "if clock_ns >= session.close_ns:",
        "if clock_ns > session.close_ns:",
    ),
    (
        "imbalance only lost on the way",
        "frame_orders",
        "        order.imbalance_only = frame.instructions & IMBALANCE_ONLY != 0\n",
        "",
    ),
    (
        "imbalance only at any time",
        "validation",
        "        if time_in_force < TIME_IN_FORCE_OPG:\n",
        "        if time_in_force > TIME_IN_FORCE_UNKNOWN:\n",
    ),
    (
        "do not reduce added by a replacement",
        "order_desk",
        "command.do_not_reduce is None or command.do_not_reduce == order.do_not_reduce",
        "True",
    ),
    (
        "no cut-off before auctions",
        "validation",
        "if command.timestamp >= cutoff_ns or clock_ns >= cutoff_ns:",
        "if False:",
    ),
    (
        "one cut-off before the close for all listings",
        "rules",
        "(not row.listing or row.listing == listing)",
        "not row.listing",
    ),
    ("late limit for the close keeps its price", "late_pricing", "    order.worst_price = price\n", ""),
    (
        "late limit for the close taken without a reference price",
        "late_pricing",
        "    if price == 0:\n        return False\n",
        "    if price == 0:\n        return True\n",
    ),
    (
        "late limit to buy gets the lower price",
        "late_limits",
        "price_e4 < self.high_e4 else self.high_e4",
        "price_e4 < self.low_e4 else self.low_e4",
    ),
    ("reference price told once only", "late_limits", "[10 * MINUTE_NS, 5 * MINUTE_NS]", "[5 * MINUTE_NS]"),
    ("reference price with the book", "uncrossing", "0, set(), False", "0, set(), True"),
    ("late limits of every listing", "late_pricing", "    if guard.listing != NASDAQ:", '    if guard.listing == "":'),
    (
        "half pennies too early",
        "rules",
        "if row.effective_from_ns <= time_ns and price_e4 >= row.at_least_e4:",
        "if price_e4 >= row.at_least_e4:",
    ),
)

MONEY: tuple[Broken, ...] = (
    ("cancel without release", "events", "        self.ledger.end(order, self.timestamp)\n", ""),
    (
        "fill without release",
        "accounts",
        "            order.remaining = remaining\n            self.hold(order)\n",
        "            order.remaining = remaining\n",
    ),
    ("commission not charged", "accounts", "        account.cash_e4 -= commission_e4\n", ""),
    ("commission not reserved", "risk_money", "return worst_e4 + cost_e4", "return worst_e4"),
    ("fees of a sale forgotten", "order_desk", "not ask.is_buy and ask.instrument.pays_fees(),", "False,"),
    ("fees charged to buyers too", "order_desk", "not ask.is_buy and ask.instrument.pays_fees(),", "True,"),
    (
        "fees told and not charged",
        "events",
        "quantity * order.commission_e4 + fees_e4",
        "quantity * order.commission_e4",
    ),
    (
        "Section 31 fee rounded down",
        "fees",
        "    return round_up(-(-notional_e4 * rate // 100_000_000), CENT_E4)\n",
        "    return notional_e4 * rate // 100_000_000 // CENT_E4 * CENT_E4\n",
    ),
    ("activity fee rounded up", "fees", "    fee = quantity * rate // 100\n", "    fee = -(-quantity * rate // 100)\n"),
    (
        "Section 31 fee of the first row for ever",
        "fees",
        "            rate = row.cents_per_million\n",
        "            rate = rate or 0\n",
    ),
    (
        "fees not reserved",
        "risk_money",
        "    return account.commission_e4 + fee_allowance_e4(worst_e4)\n",
        "    return account.commission_e4\n",
    ),
    ("open purchases not counted", "risk", "after = held + open_buys + ask.extra\n", "after = held + ask.extra\n"),
    ("shares on offer not counted", "risk_money", "if held - offered - locked < extra:", "if held - locked < extra:"),
    (
        "replacement without release",
        "accounts",
        "order.pending = pending[applied + refused :] or None",
        "order.pending = pending",
    ),
    (
        "release before the answer",
        "accounts",
        "        pending.append(terms)\n",
        "        pending.append(terms)\n        order.unit_e4 = terms.unit_e4\n",
    ),
    ("larger need not reserved", "accounts", "                money = max(money, left * terms.unit_e4)\n", ""),
    (
        "replacement answered twice",
        "outcomes",
        "line.replaces_applied = (line.replaces_applied or 0) + 1",
        "line.replaces_applied = (line.replaces_applied or 0) + 2",
    ),
    ("duplicates accepted", "order_ids", "        entry = self.current.get(key, -1)\n", "        entry = -1\n"),
)

LIMITS: tuple[Broken, ...] = (
    (
        "notional limit not inclusive",
        "risk",
        "if notional > account.max_order_notional_e4",
        "if notional >= account.max_order_notional_e4",
    ),
    ("rate not counted", "limits", "        times.append(command.timestamp)\n", "        pass\n"),
    ("day's value never ends", "risk_clock", "            account.day_notional_e4 = 0\n", ""),
    (
        "changed limit comes back with the account's record",
        "reference",
        "if not state.published or state.published[kind] != limits[kind]:",
        "if True:",
    ),
    (
        "sector not summed up",
        "limits",
        "                value += abs(position.quantity) * other.mark() * other.multiplier\n",
        "                pass\n",
    ),
)

STATE: tuple[Broken, ...] = (
    (
        "limits far beyond the market taken in",
        "limit_protection",
        "return allowed if (price_e4 > allowed if order.is_buy else price_e4 < allowed) else 0",
        "return 0",
    ),
    (
        "a fill told as a new order",
        "lifecycle",
        "    ORDER_STATUS_EXECUTED: EXEC_TYPE_TRADE,\n",
        "    ORDER_STATUS_EXECUTED: EXEC_TYPE_NEW,\n",
    ),
    (
        "last print lost in the snapshot",
        "match_state",
        "            market.last_price = reader.take()\n",
        "            reader.take()\n",
    ),
    (
        "fees lost in the snapshot",
        "match_state",
        "        order.pays_fees = reader.take_flag()\n",
        "        reader.take_flag()\n",
    ),
    (
        "kill switch lost in the snapshot",
        "match_shard",
        "        self.killed_all = reader.take_flag()\n",
        "        reader.take_flag()\n",
    ),
)

BROKEN = (
    PRIORITY
    + PRICE
    + EXCHANGES
    + STOPS
    + INSTRUCTIONS
    + MONEY
    + CASH
    + CLOSE_OUTS
    + ACTIONS
    + LIMITS
    + OPERATORS
    + STATE
)
