"""Both stages fed with rows of text: what `tradestream match --rules us-equities` runs.

Each row is an order command whose time moves the clock; the national best is our own book's. Without reference data of
its own the desk makes it up: an account that is seen for the first time is a margin account with `CASH_E4`, it holds
`HELD` shares of a symbol when its first sale of it is long, not short, a symbol is a stock of tier 2 that is easy to
borrow, and sessions are asked for from who runs the desk.
Ordering: reports are in the order in which things happen; what a row's time causes comes before the row.
Invariants: the rules are those of the running job, because the engines are; a row that is wrong is answered by a
REJECTED line.
Known limits: one shard, one venue; commands whose time goes back are taken at the time that was reached.
Complexity: as of the two stages, with one record each way for every row.
"""

from collections.abc import Callable
from typing import Final

from schemas.messages import dead_letter, nbbo, order_events, orders, reference_data
from schemas.messages.enums import (
    ACCOUNT_TYPE_MARGIN,
    ASSET_CLASS_STOCK,
    COMMAND_TYPE_CODES,
    COMMAND_TYPE_NEW,
    COMMAND_TYPE_UNKNOWN,
    DEAD_LETTER_REASON_DUPLICATE_ORDER_ID,
    DEAD_LETTER_REASON_REPLAYED_ORDER,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_REJECTED,
    ORDER_TYPE_CODES,
    ORDER_TYPE_UNKNOWN,
    REASON_CODE_NAMES,
    REASON_CODE_VALIDATION_DUPLICATE_ORDER_ID,
    REASON_CODE_VALIDATION_MALFORMED,
    REFERENCE_KIND_ACCOUNT,
    REFERENCE_KIND_INSTRUMENT,
    REFERENCE_KIND_SESSION,
    REFERENCE_KIND_SNAPSHOT_END,
    SIDE_BUY,
    SIDE_CODES,
    SIDE_SELL,
    SIDE_UNKNOWN,
    STP_MODE_CODES,
    STP_MODE_UNKNOWN,
    TIME_IN_FORCE_CODES,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_UNKNOWN,
)
from schemas.messages.orders import OrderCommand
from schemas.messages.reference_data import Account, Instrument, ReferenceData, Session
from udfs.domain import ids, sources
from udfs.domain.book import Order
from udfs.domain.fees import sale_fees_e4
from udfs.domain.market import Market
from udfs.domain.match_csv import FIELDS, CsvReporter, csv_text, parse_integer, parse_price
from udfs.domain.match_shard import MatchShard
from udfs.domain.outcomes import OutcomeLedger
from udfs.domain.risk_shard import RiskShard
from udfs.domain.rules import MAX_QUANTITY, NEVER_NS

CASH_E4: Final = 1_000_000_000 * 10_000
"""Cash of an account that the desk makes up, $1 billion."""
HELD: Final = 10_000_000
"""Shares that such an account holds of what it sells."""
_LIMIT_E4: Final = 10**16
_SHARES: Final = 10**9
_DAY_NS: Final = 86_400_000_000_000
_TICK_E4: Final = 100
_TIER: Final = 2
_ID_BYTES: Final = 64

TOPICS: Final = (
    "orders",
    "reference-data",
    "controls",
    "nbbo",
    "order-outcomes",
    "order-events",
    "trade-events",
    "risk-events",
    "routing-decisions",
    "market-status",
    "dead-letter",
    "corporate-actions",
)
_IDS: Final = {topic: index + 1 for index, topic in enumerate(TOPICS)}

SessionOf = Callable[[int], Session | None]
"""Gives the session of the UTC day that begins at a time in ns, or None."""


def no_session(midnight_ns: int) -> Session | None:
    """No day has a session: for a desk whose sessions come as reference data."""
    return None


def _parse_time(text: str) -> int:
    """Nanoseconds since the epoch. Raises ValueError for anything else, and for what the engine calls never."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) >= NEVER_NS:
        raise ValueError("not a time in nanoseconds")
    return int(text)


class MarketReporter(CsvReporter):
    """Lines of text, and the ledger that the risk stage lives on."""

    __slots__ = ("ledger", "touched")

    def __init__(self, ledger: OutcomeLedger) -> None:
        super().__init__()
        self.ledger = ledger
        # Symbols whose book may have changed.
        self.touched: dict[str, bool] = {}

    def routed(self, order: Order, venue: str) -> None:
        """The order may stand in the book now."""
        self.touched[order.symbol] = True

    def executed(self, taker: Order, maker: Order, quantity: int, price: int, market: Market) -> None:
        """A TRADE line, and both orders' fills for risk."""
        CsvReporter.executed(self, taker, maker, quantity, price, market)
        self.touched[taker.symbol] = True
        self._fill(taker, quantity, price)
        self._fill(maker, quantity, price)

    def _fill(self, order: Order, quantity: int, price: int) -> None:
        """A fill, with what it is charged as the trading job charges it."""
        fees_e4 = sale_fees_e4(quantity, price, self.timestamp) if order.pays_fees else 0
        self.ledger.fill(order, quantity, price, quantity * order.commission_e4 + fees_e4, self.timestamp)

    def ended(self, order: Order, status: int, reason: int, limit: int, observed: int) -> None:
        """A line, and the release of what the order reserves."""
        CsvReporter.ended(self, order, status, reason, limit, observed)
        self.touched[order.symbol] = True
        self.ledger.end(order, self.timestamp)

    def reduced(self, order: Order, quantity: int) -> None:
        """A line, and the order's new total."""
        CsvReporter.reduced(self, order, quantity)
        self.touched[order.symbol] = True
        self.ledger.restate(order, self.timestamp)

    def replaced(self, order: Order) -> None:
        """A line, and the answer to the replacement."""
        CsvReporter.replaced(self, order)
        self.touched[order.symbol] = True
        self.ledger.replace(order, True, self.timestamp)

    def replace_refused(self, order: Order) -> None:
        """The answer to the replacement; its line comes from the refusal's event."""
        self.ledger.replace(order, False, self.timestamp)


class MarketDesk:
    """Rows in, lines out, under the rules of the running job."""

    __slots__ = (
        "clock_ns",
        "commands",
        "days",
        "holdings",
        "known_accounts",
        "known_symbols",
        "made_up",
        "malformed",
        "market",
        "offset",
        "owners",
        "quotes",
        "rejected",
        "reporter",
        "risk",
        "sequence",
        "session_of",
    )

    def __init__(self, session_of: SessionOf = no_session, made_up: bool = True) -> None:
        self.risk = RiskShard(0, 1, _IDS)
        self.market = MatchShard(0, 1, _IDS)
        self.reporter = MarketReporter(self.market.ledger)
        self.market.report_to(self.reporter)
        self.session_of: SessionOf = session_of
        self.made_up = made_up
        self.days: set[int] = set()
        self.known_accounts: set[str] = set()
        self.known_symbols: set[str] = set()
        self.holdings: set[str] = set()
        # Account of each order id, for cancels and replacements that leave it out.
        self.owners: dict[str, str] = {}
        self.quotes: dict[str, tuple[int, int]] = {}
        self.clock_ns: int = 0
        self.offset: int = 0
        self.sequence: int = 0
        self.commands: int = 0
        self.rejected: int = 0
        self.malformed: int = 0
        if made_up:
            self.put_reference(ReferenceData(REFERENCE_KIND_SNAPSHOT_END, "snapshot-end", None, None, None, 0, 0))

    def take_lines(self) -> list[str]:
        """The lines since the last call."""
        lines = self.reporter.lines
        self.reporter.lines = []
        return lines

    def summary(self) -> tuple[int, int, int, int, int]:
        """Commands, trades, rejected, malformed, and orders that are open now."""
        return self.commands, self.reporter.trades, self.rejected, self.malformed, len(self.market.matcher.live)

    def put_reference(self, record: ReferenceData) -> None:
        """Give reference data to both stages."""
        payload = reference_data.encode(record, _IDS["reference-data"])
        self.risk.apply(sources.REFERENCE, payload, 0, 0, 0)
        self.market.apply(sources.REFERENCE, payload, 0, 0, 0)
        self._deliver()

    def apply(self, row: list[str]) -> None:
        """Apply one row of `match_csv.COMMAND_HEADER`'s fields."""
        self.commands += 1
        reporter = self.reporter
        whole = len(row) == FIELDS
        if not whole:
            row = (row + [""] * FIELDS)[:FIELDS]
        reporter.seq = csv_text(row[0])
        # Nobody knows which field is too many or missing, so that the row is not applied.
        command = self._command(row) if whole else None
        if command is None:
            self._reject(row, REASON_CODE_VALIDATION_MALFORMED)
            return
        self._reach(command.timestamp)
        if self.made_up:
            self._make_up(command)
        self.offset += 1
        payload = orders.encode(command, _IDS["orders"])
        self.risk.apply(sources.ORDERS, payload, 0, self.offset, 0)
        self._deliver()
        self._answer_refusals(row)

    def _command(self, row: list[str]) -> OrderCommand | None:
        """The command of a row; None when it cannot be read."""
        kind = COMMAND_TYPE_CODES.get(row[2], COMMAND_TYPE_UNKNOWN)
        stp = STP_MODE_CODES.get(row[12] or "NONE", STP_MODE_UNKNOWN)
        if kind == COMMAND_TYPE_UNKNOWN or stp == STP_MODE_UNKNOWN:
            return None
        if len(row[3]) > _ID_BYTES or len(row[4]) > _ID_BYTES or len(row[5]) > _ID_BYTES:
            return None
        if not (row[3].isascii() and row[4].isascii() and row[5].isascii()):
            return None
        # What a cancel or replacement leaves empty is its order's.
        is_new = kind == COMMAND_TYPE_NEW
        try:
            timestamp = _parse_time(row[1])
            quantity = parse_integer(row[9]) if row[9] or is_new else 0
            price: int | None = parse_price(row[10]) if row[10] else None
            stop_price: int | None = parse_price(row[11]) if row[11] else None
        except ValueError:
            return None
        account_id = row[4]
        if is_new:
            self.owners[row[3]] = account_id
        elif not account_id:
            account_id = self.owners.get(row[3], "")
        order = self.market.matcher.live.get(ids.order_key(account_id, row[3]))
        symbol = row[5]
        side = SIDE_CODES.get(row[6], SIDE_UNKNOWN)
        order_type = ORDER_TYPE_CODES.get(row[7], ORDER_TYPE_UNKNOWN)
        time_in_force = TIME_IN_FORCE_CODES.get(row[8], TIME_IN_FORCE_UNKNOWN)
        if not is_new:
            if order is not None:
                symbol = order.symbol
                side = order.side
                order_type = order.order_type
                time_in_force = order.time_in_force
            elif side == SIDE_UNKNOWN:
                side = SIDE_BUY
            if time_in_force == TIME_IN_FORCE_UNKNOWN:
                time_in_force = TIME_IN_FORCE_DAY
        return OrderCommand(
            kind,
            row[3],
            account_id,
            symbol,
            side,
            order_type,
            time_in_force,
            quantity,
            price,
            stop_price,
            stp,
            None,
            timestamp,
        )

    def _reject(self, row: list[str], reason: int) -> None:
        """Answer a command that changes nothing, with its own fields."""
        self.rejected += 1
        if reason == REASON_CODE_VALIDATION_MALFORMED:
            self.malformed += 1
        self.reporter.lines.append(
            f"{self.reporter.seq},REJECTED,{csv_text(row[3])},,{csv_text(row[5])},{csv_text(row[6])},{csv_text(row[10])},"
            f"{csv_text(row[9])},0,{REASON_CODE_NAMES[reason]}\n"
        )

    def _reach(self, time_ns: int) -> None:
        """The clock reaches a row's time; what that causes comes first."""
        if time_ns <= self.clock_ns:
            return
        day = time_ns // _DAY_NS
        if day not in self.days:
            self.days.add(day)
            session = self.session_of(day * _DAY_NS)
            if session is not None:
                key = "session:" + session.date
                self.put_reference(ReferenceData(REFERENCE_KIND_SESSION, key, None, None, session, 0, time_ns))
        self.clock_ns = time_ns
        # As a CLOCK control would, one for each row.
        self.market.advance(time_ns, "clock")
        self._deliver()
        self.risk.clock.advance(time_ns)

    def _make_up(self, command: OrderCommand) -> None:
        """Reference data for an account or a symbol that is seen for the first time."""
        if command.account_id and command.account_id not in self.known_accounts:
            self.known_accounts.add(command.account_id)
            account = Account(
                command.account_id,
                command.account_id,
                "match",
                CASH_E4,
                [],
                MAX_QUANTITY,
                _LIMIT_E4,
                _SHARES,
                0,
                True,
                ACCOUNT_TYPE_MARGIN,
            )
            key = "account:" + command.account_id
            self.put_reference(ReferenceData(REFERENCE_KIND_ACCOUNT, key, None, account, None, 0, command.timestamp))
        if command.symbol and command.symbol not in self.known_symbols:
            self.known_symbols.add(command.symbol)
            instrument = Instrument(
                command.symbol,
                command.symbol,
                ASSET_CLASS_STOCK,
                "USD",
                "TRDS",
                _TICK_E4,
                100,
                0,
                True,
                None,
                _TIER,
                None,
                None,
                True,
            )
            key = "instrument:" + command.symbol
            self.put_reference(
                ReferenceData(REFERENCE_KIND_INSTRUMENT, key, instrument, None, None, 0, command.timestamp)
            )

        holding = command.account_id + "\n" + command.symbol
        if command.command == COMMAND_TYPE_NEW and command.side != SIDE_BUY and holding not in self.holdings:
            self.holdings.add(holding)
            account_state = self.risk.book.accounts.get(command.account_id)
            instrument_state = self.risk.reference.instruments.get(command.symbol)
            if command.side == SIDE_SELL and account_state is not None and instrument_state is not None:
                position = account_state.position(instrument_state)
                account_state.move(position, HELD)
                position.loaded += HELD

    def _deliver(self) -> None:
        """Frames to matching, outcomes back to risk, and the new best of our book to risk as the national best."""
        forward = self.risk.outbox.forward
        while forward[0]:
            frames = forward[0]
            forward[0] = []
            for frame in frames:
                self.market.apply(sources.FORWARD, frame, 0, 0, 0)
        self.market.flush()
        lane = self.market.outbox.order_outcomes
        if lane.values:
            for value in lane.values:
                self.risk.apply(sources.OUTCOMES, value, 0, 0, 0)
            lane.clear()
        touched = self.reporter.touched
        if touched:
            self.reporter.touched = {}
            for symbol in touched:
                self._quote(symbol)

    def _quote(self, symbol: str) -> None:
        """Tell the risk stage our best prices when they have changed."""
        market = self.market.matcher.market(symbol)
        bid = market.book.best_bid()
        ask = market.book.best_ask()
        if self.quotes.get(symbol) == (bid, ask):
            return
        self.quotes[symbol] = (bid, ask)
        self.sequence += 1
        payload = nbbo.encode_fields(
            _IDS["nbbo"],
            "",
            symbol,
            bid if bid else None,
            0,
            None,
            ask if ask else None,
            0,
            None,
            [],
            market.last_price if market.last_price else None,
            self.sequence,
            self.clock_ns,
        )
        self.risk.apply(sources.NBBO, payload, 0, 0, 0)

    def _answer_refusals(self, row: list[str]) -> None:
        """REJECTED for what either stage refused; everything else that they publish is not asked for."""
        for lane in (self.risk.outbox.order_events, self.market.outbox.order_events):
            for value in lane.values:
                event = order_events.decode(value, _IDS["order-events"])
                if event.status == ORDER_STATUS_REJECTED or event.event_type != ORDER_EVENT_TYPE_STATUS:
                    self._reject(row, event.reason)
        for value in self.risk.outbox.dead_letter.values:
            letter = dead_letter.decode(value, _IDS["dead-letter"])
            twice = letter.reason in (DEAD_LETTER_REASON_DUPLICATE_ORDER_ID, DEAD_LETTER_REASON_REPLAYED_ORDER)
            self._reject(row, REASON_CODE_VALIDATION_DUPLICATE_ORDER_ID if twice else REASON_CODE_VALIDATION_MALFORMED)
        self.risk.outbox.clear()
        self.market.outbox.clear()
