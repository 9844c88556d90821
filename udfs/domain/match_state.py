"""The match stage's state as values of a snapshot, version 5; versions 1 to 4 are read too.

Ordering: live orders oldest first, which is also their order within each price; markets in the order in which they
came. A snapshot of version 1 has no stops, auctions or bands; its orders all rest, in the order of their priority. One
of version 2 has no orders with the instructions imbalance only or do not reduce. Orders of a snapshot before version 4
pay no regulatory fees, as they were promised when they were approved. Before version 5 nobody knew here which exchange
lists a symbol: until reference data says so again, its late orders for the close keep their price.
Invariant: read after write gives an engine that behaves the same; heaps and links are built again, not stored.
Complexity: linear.
"""

from typing import Final

from udfs.domain.book import RESTING, Order
from udfs.domain.events import set_terms
from udfs.domain.market import Market
from udfs.domain.matching import Matcher
from udfs.domain.recent import RecentEnds
from udfs.domain.state_codec import StateReader, StateWriter
from udfs.domain.street import Street, Venue

MATCH_KIND: Final = 2
MATCH_VERSION: Final = 5


def write_matcher(writer: StateWriter, matcher: Matcher) -> None:
    """Put markets, live orders and recent ends."""
    writer.put(matcher.rank)
    writer.put(len(matcher.markets))
    for market in matcher.markets.values():
        writer.put_text(market.symbol)
        writer.put_flag(market.trading)
        writer.put(market.low)
        writer.put(market.high)
        writer.put(market.last_price)
        writer.put(market.print_lot)
        writer.put(market.print_count)
        writer.put(market.print_sum)
        writer.put(market.print_low)
        writer.put(market.tick_e4)
        writer.put_flag(market.short_restricted)
        _write_street(writer, market.street)
    writer.put(len(matcher.live))
    for order in matcher.live.values():
        _write_order(writer, order)
    recent = matcher.recent
    keys = recent.in_order()
    writer.put(len(keys))
    for key in keys:
        writer.put_text(key)
        writer.put(recent.statuses.get(key, 0))


def read_matcher(reader: StateReader, matcher: Matcher) -> None:
    """Take what `write_matcher` put into a new matcher."""
    old = reader.version == 1
    if not old:
        matcher.rank = reader.take()
    for _ in range(reader.take()):
        market = Market(reader.take_text())
        if not old:
            market.trading = reader.take_flag()
            market.low = reader.take()
            market.high = reader.take()
            market.last_price = reader.take()
            market.print_lot = reader.take()
            market.print_count = reader.take()
            market.print_sum = reader.take()
            market.print_low = reader.take()
            market.tick_e4 = reader.take()
            market.short_restricted = reader.take_flag()
        _read_street(reader, market.street)
        market.street.confine(market.low, market.high)
        matcher.markets[market.symbol] = market
    for _ in range(reader.take()):
        order = _read_order(reader)
        if old:
            matcher.rank += 1
            order.rank = matcher.rank
            order.place = RESTING
            order.routed = True
        matcher.restore(order)
    recent: RecentEnds = matcher.recent
    for _ in range(reader.take()):
        recent.remember(reader.take_text(), reader.take())


def _write_order(writer: StateWriter, order: Order) -> None:
    writer.put_text(order.origin)
    writer.put_text(order.order_id)
    writer.put_text(order.account_id)
    writer.put_text(order.symbol)
    writer.put_text(order.key)
    writer.put(order.side)
    writer.put_flag(order.is_buy)
    writer.put(order.order_type)
    writer.put(order.time_in_force)
    writer.put(order.quantity)
    _write_price(writer, order.limit_price)
    writer.put(order.worst_price)
    writer.put(order.commission_e4)
    writer.put(order.account_shard)
    writer.put(order.close_ns)
    writer.put(order.cum_quantity)
    writer.put(order.sequence)
    writer.put(order.status)
    writer.put(order.decisions)
    _write_price(writer, order.stop_price)
    writer.put(order.stp)
    writer.put_text(order.stp_key)
    writer.put(order.place)
    writer.put(order.rank)
    writer.put_flag(order.routed)
    writer.put_flag(order.triggered)
    writer.put(order.placed_ns)
    writer.put_flag(order.imbalance_only)
    writer.put_flag(order.do_not_reduce)
    writer.put_flag(order.pays_fees)


def _read_order(reader: StateReader) -> Order:
    origin = reader.take_text()
    order_id = reader.take_text()
    account_id = reader.take_text()
    symbol = reader.take_text()
    key = reader.take_text()
    side = reader.take()
    is_buy = reader.take_flag()
    order_type = reader.take()
    time_in_force = reader.take()
    quantity = reader.take()
    limit_price = _read_price(reader)
    worst_price = reader.take()
    commission_e4 = reader.take()
    account_shard = reader.take()
    close_ns = reader.take()
    order = Order(
        key,
        origin,
        order_id,
        account_id,
        symbol,
        side,
        is_buy,
        order_type,
        time_in_force,
        quantity,
        limit_price,
        worst_price,
        commission_e4,
        account_shard,
        close_ns,
    )
    order.cum_quantity = reader.take()
    order.sequence = reader.take()
    order.status = reader.take()
    order.decisions = reader.take()
    if reader.version > 1:
        order.stop_price = _read_price(reader)
        order.stp = reader.take()
        order.stp_key = reader.take_text()
        order.place = reader.take()
        order.rank = reader.take()
        order.routed = reader.take_flag()
        order.triggered = reader.take_flag()
        order.placed_ns = reader.take()
    if reader.version > 2:
        order.imbalance_only = reader.take_flag()
        order.do_not_reduce = reader.take_flag()
    if reader.version > 3:
        order.pays_fees = reader.take_flag()
    order.kafka_key = order_id.encode("utf-8")
    set_terms(order)
    return order


def _write_street(writer: StateWriter, street: Street) -> None:
    writer.put_flag(street.event_id is not None)
    writer.put_text(street.event_id or "")
    writer.put_flag(street.known)
    writer.put(street.sequence)
    writer.put(street.timestamp)
    _write_price(writer, street.bid_price)
    writer.put(street.bid_size)
    _write_price(writer, street.ask_price)
    writer.put(street.ask_size)
    writer.put_flag(street.taken)
    _write_venues(writer, street.venues)
    _write_venues(writer, street.absent)


def _write_venues(writer: StateWriter, venues: list[Venue]) -> None:
    writer.put(len(venues))
    for venue in venues:
        writer.put_text(venue.exchange)
        writer.put(venue.bid_price)
        writer.put(venue.bid_size)
        writer.put(venue.ask_price)
        writer.put(venue.ask_size)
        writer.put(venue.timestamp)
        writer.put(venue.bid_taken)
        writer.put(venue.ask_taken)


def _read_street(reader: StateReader, street: Street) -> None:
    known = reader.take_flag()
    event_id = reader.take_text()
    street.event_id = event_id if known else None
    street.known = known if reader.version == 1 else reader.take_flag()
    street.sequence = reader.take()
    street.timestamp = reader.take()
    street.bid_price = _read_price(reader)
    street.bid_size = reader.take()
    street.ask_price = _read_price(reader)
    street.ask_size = reader.take()
    street.taken = reader.take_flag()
    street.venues = _read_venues(reader)
    street.absent = _read_venues(reader)
    street.find_best()


def _read_venues(reader: StateReader) -> list[Venue]:
    venues: list[Venue] = []
    for _ in range(reader.take()):
        exchange = reader.take_text()
        bid_price = reader.take()
        bid_size = reader.take()
        ask_price = reader.take()
        ask_size = reader.take()
        timestamp = reader.take()
        bid_taken = reader.take()
        ask_taken = reader.take()
        venues.append(Venue(exchange, bid_price, bid_size, ask_price, ask_size, timestamp, bid_taken, ask_taken))
    return venues


def _write_price(writer: StateWriter, price: int | None) -> None:
    writer.put_flag(price is not None)
    writer.put(0 if price is None else price)


def _read_price(reader: StateReader) -> int | None:
    known = reader.take_flag()
    price = reader.take()
    return price if known else None
