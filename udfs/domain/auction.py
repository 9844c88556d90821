"""The price and size of a single-price auction (opening, closing, after a pause).

The candidates are the entered limit prices and every multiple of the tick, within [low, high]. Of all candidates those
are kept, rule by rule, that
1. execute the most shares (shares = the smaller of what buys and what sells at that price would trade),
2. leave the smallest imbalance (the difference of the two, without its sign),
3. are entered prices at which limit orders remain unexecuted: where buys exceed sells, the highest of the candidates
   kept so far; where sells exceed buys, the lowest. The rule says nothing where only market orders remain
   unexecuted, or none,
4. are closest to the reference price. Without one (0) the reference is the middle of the highest bid and the lowest
   ask, rounded down, or the one of them that there is.
Imbalance-only orders count at each candidate only as far as the others leave an imbalance against them: sells up to
what buys exceed sells by, and the other way round. So they never add to an imbalance, but they can fill it.
Of two candidates that are equally close the lower one is the price. When rule 3 keeps one price of each sign, which
are then neighbours, rule 4 chooses between these two.

Source: Nasdaq Rules 4752(d)(2) and 4754(b)(2); the like rule of NYSE (FR Doc. 2021-11693). The clip is part of the choice, not a
correction after it: an auction never executes outside [low, high], and executes the most that can be there.
Ordering: the caller fills market orders first, then better-priced limits, then by time, and imbalance-only orders last.
Invariants: buys and sells at the price are at least the quantity; the result does not depend on how shares are spread
over levels of one price.
Known limits: without a reference, and without limit orders other than imbalance-only ones, there is no price, so no
auction.
Complexity: linear in the levels.
"""

from udfs.domain.rules import MAX_PRICE_E4


class AuctionResult:
    """Price e4 and shares executed (0 and 0: nothing crosses); imbalance: what buys exceed sells by at the price.

    When nothing executes, the imbalance is the one at the reference price (clipped), or that of the market orders alone
    when there is no reference.
    """

    __slots__ = ("imbalance", "price_e4", "quantity")

    def __init__(self, price_e4: int, quantity: int, imbalance: int) -> None:
        self.price_e4 = price_e4
        self.quantity = quantity
        self.imbalance = imbalance


class _Range:
    """Candidates from `first` to `last` between which neither buys nor sells change: an entered price or a gap."""

    __slots__ = ("buys", "first", "last", "sells", "step")

    def __init__(self, first: int, last: int, step: int, buys: int, sells: int) -> None:
        self.first = first
        self.last = last
        self.step = step
        self.buys = buys
        self.sells = sells

    def closest(self, reference: int) -> int:
        """The candidate nearest to a price; the lower of two."""
        if reference <= self.first:
            return self.first
        if reference >= self.last:
            return self.last
        below = self.first + (reference - self.first) // self.step * self.step
        above = below + self.step
        return below if reference - below <= above - reference else above


def uncross(
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    market_buy: int,
    market_sell: int,
    reference_e4: int,
    low_e4: int,
    high_e4: int,
    tick: int,
    imbalance_bids: list[tuple[int, int]] | None = None,
    imbalance_asks: list[tuple[int, int]] | None = None,
) -> AuctionResult:
    """The auction of aggregated levels (price e4, shares), bids highest first, asks lowest first, and market orders.

    `low_e4` and `high_e4` clip the price, 0 for no clip on that side; `tick` is the price step between the levels.
    `imbalance_bids` and `imbalance_asks`: levels of imbalance-only orders, in the same order.
    """
    reference = reference_e4 if reference_e4 > 0 else _middle(bids, asks)
    low = low_e4 if low_e4 > 0 else 1
    high = high_e4 if high_e4 > 0 else MAX_PRICE_E4
    quantity = 0
    imbalance = 0
    kept: list[_Range] = []
    if reference > 0:
        ranges = _ranges(bids, asks, market_buy, market_sell, low, high, tick)
        if imbalance_bids or imbalance_asks:
            ranges = _offset(ranges, imbalance_bids or [], imbalance_asks or [])
        for candidate in ranges:
            executed = candidate.buys if candidate.buys < candidate.sells else candidate.sells
            rest = abs(candidate.buys - candidate.sells)
            if executed == 0 or executed < quantity or (executed == quantity and rest > imbalance):
                continue
            if executed > quantity or rest < imbalance:
                kept = []
                quantity = executed
                imbalance = rest
            kept.append(candidate)
    if not kept:
        return AuctionResult(0, 0, _imbalance_at(bids, asks, market_buy, market_sell, reference_e4, low, high))
    return _choose(kept, quantity, market_buy, market_sell, reference)


def _choose(kept: list[_Range], quantity: int, market_buy: int, market_sell: int, reference: int) -> AuctionResult:
    """Rules 3 and 4 among ranges, in rising order, that are equal by rules 1 and 2."""
    pressed: list[_Range] = []
    highest: _Range | None = None
    lowest: _Range | None = None
    for candidate in kept:
        if candidate.buys > candidate.sells and candidate.buys > market_buy:
            highest = candidate
        elif candidate.sells > candidate.buys and candidate.sells > market_sell and lowest is None:
            lowest = candidate
    if highest is not None:
        pressed.append(_Range(highest.last, highest.last, 1, highest.buys, highest.sells))
    if lowest is not None:
        pressed.append(_Range(lowest.first, lowest.first, 1, lowest.buys, lowest.sells))
    if not pressed:
        pressed = kept
    best = pressed[0]
    price = best.closest(reference)
    for candidate in pressed:
        found = candidate.closest(reference)
        if abs(found - reference) < abs(price - reference):
            best = candidate
            price = found
    return AuctionResult(price, quantity, best.buys - best.sells)


def _ranges(
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    market_buy: int,
    market_sell: int,
    low: int,
    high: int,
    tick: int,
) -> list[_Range]:
    """All candidates from low to high, as ranges in rising order of price."""
    ranges: list[_Range] = []
    buys = market_buy
    for _, shares in bids:
        buys += shares
    sells = market_sell
    bid_at = len(bids) - 1
    ask_at = 0
    gap_from = 0
    while bid_at >= 0 or ask_at < len(asks):
        price = bids[bid_at][0] if bid_at >= 0 else asks[ask_at][0]
        if ask_at < len(asks) and asks[ask_at][0] < price:
            price = asks[ask_at][0]
        _add_gap(ranges, gap_from, price, low, high, tick, buys, sells)
        while ask_at < len(asks) and asks[ask_at][0] == price:
            sells += asks[ask_at][1]
            ask_at += 1
        if low <= price <= high:
            ranges.append(_Range(price, price, 1, buys, sells))
        while bid_at >= 0 and bids[bid_at][0] == price:
            buys -= bids[bid_at][1]
            bid_at -= 1
        gap_from = price
    _add_gap(ranges, gap_from, MAX_PRICE_E4 + 1, low, high, tick, buys, sells)
    return ranges


def _offset(
    ranges: list[_Range], imbalance_bids: list[tuple[int, int]], imbalance_asks: list[tuple[int, int]]
) -> list[_Range]:
    """The ranges with imbalance-only orders, cut where their prices lie: those of one side fill what the other exceeds by.

    A price that is no multiple of the tick is no candidate because an imbalance-only order was entered at it.
    """
    result: list[_Range] = []
    bought = 0
    for _, shares in imbalance_bids:
        bought += shares
    sold = 0
    bid_at = len(imbalance_bids) - 1
    ask_at = 0
    for whole in ranges:
        first = whole.first
        while first <= whole.last:
            while ask_at < len(imbalance_asks) and imbalance_asks[ask_at][0] <= first:
                sold += imbalance_asks[ask_at][1]
                ask_at += 1
            while bid_at >= 0 and imbalance_bids[bid_at][0] < first:
                bought -= imbalance_bids[bid_at][1]
                bid_at -= 1
            # As far as no imbalance-only order comes or goes: an ask comes at its price, a bid goes above it.
            last = whole.last
            if ask_at < len(imbalance_asks) and imbalance_asks[ask_at][0] <= last:
                last = first + (imbalance_asks[ask_at][0] - 1 - first) // whole.step * whole.step
            if bid_at >= 0 and imbalance_bids[bid_at][0] < last:
                last = first + (imbalance_bids[bid_at][0] - first) // whole.step * whole.step
            excess = whole.buys - whole.sells
            buys = whole.buys
            sells = whole.sells
            if excess > 0:
                sells += sold if sold < excess else excess
            else:
                buys += bought if bought < -excess else -excess
            result.append(_Range(first, last, whole.step, buys, sells))
            first = last + whole.step
    return result


def _add_gap(
    ranges: list[_Range], above: int, below: int, low: int, high: int, tick: int, buys: int, sells: int
) -> None:
    """Add the multiples of the tick strictly between two entered prices, as far as they lie within the clip."""
    first = above + 1 if above + 1 > low else low
    last = below - 1 if below - 1 < high else high
    first = -(-first // tick) * tick
    last = last // tick * tick
    if first <= last:
        ranges.append(_Range(first, last, tick, buys, sells))


def _middle(bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> int:
    """The middle of the best entered prices, or the only one, or 0."""
    if not bids:
        return asks[0][0] if asks else 0
    return (bids[0][0] + asks[0][0]) // 2 if asks else bids[0][0]


def _imbalance_at(
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    market_buy: int,
    market_sell: int,
    reference: int,
    low: int,
    high: int,
) -> int:
    """What buys exceed sells by at the reference price; the market orders' alone without one."""
    imbalance = market_buy - market_sell
    if reference <= 0:
        return imbalance
    price = reference if reference > low else low
    if price > high:
        price = high
    for bid, shares in bids:
        if bid >= price:
            imbalance += shares
    for ask, shares in asks:
        if ask <= price:
            imbalance -= shares
    return imbalance
