"""The book alone, fed with rows of text: what `tradestream match --rules bare` runs.

A row is a command, a report is a line of text; any symbol and account, always open, no reference data.
Ordering: reports are in the order in which things happen. A row that is wrong is answered by a REJECTED line.
Invariants: order ids are unique over the whole input, an id that was accepted once is never accepted again.
Known limits: prices have at most four decimals; the book's own ids are kept for the whole run, about 100 bytes each.
Complexity: as in matching.py, and the length of the row.
"""

from typing import Final

from schemas.messages.enums import (
    ORDER_STATUS_EXPIRED,
    ORDER_TYPE_CODES,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    ORDER_TYPE_STOP,
    ORDER_TYPE_STOP_LIMIT,
    REASON_CODE_CANCEL_TOO_LATE,
    REASON_CODE_CANCEL_UNKNOWN_ORDER,
    REASON_CODE_CANCEL_WRONG_ACCOUNT,
    REASON_CODE_MATCH_SELF_TRADE,
    REASON_CODE_NAMES,
    REASON_CODE_NONE,
    REASON_CODE_REPLACE_TOO_LATE,
    REASON_CODE_REPLACE_UNKNOWN_ORDER,
    REASON_CODE_VALIDATION_DUPLICATE_ORDER_ID,
    REASON_CODE_VALIDATION_MALFORMED,
    REASON_CODE_VALIDATION_ORDER_ID_INVALID,
    REASON_CODE_VALIDATION_PRICE_MISSING,
    REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED,
    REASON_CODE_VALIDATION_PRICE_NOT_POSITIVE,
    REASON_CODE_VALIDATION_QUANTITY_NOT_POSITIVE,
    REASON_CODE_VALIDATION_STOP_PRICE_INVALID,
    REASON_CODE_VALIDATION_STOP_PRICE_MISSING,
    REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE,
    REASON_CODE_VALIDATION_UNSUPPORTED_SIDE,
    REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE,
    SIDE_BUY,
    SIDE_CODES,
    SIDE_NAMES,
    SIDE_SELL,
    SIDE_SELL_SHORT,
    STP_MODE_CODES,
    STP_MODE_DECREMENT,
    TIME_IN_FORCE_CODES,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_IOC,
)
from udfs.domain.book import Order
from udfs.domain.market import Market
from udfs.domain.matching import Matcher
from udfs.domain.recent import RecentEnds
from udfs.domain.reporter import Reporter

COMMAND_HEADER: Final = (
    "seq,timestamp_ns,command,order_id,account_id,symbol,side,order_type,time_in_force,quantity,price,stop_price,stp"
)
REPORT_HEADER: Final = "seq,event,order_id,contra_order_id,symbol,side,price,quantity,leaves_quantity,reason"
FIELDS: Final = 13
_MOST: Final = 10**15
"""No price e4 and no quantity is larger: sums of them stay within 64 bits in what is published elsewhere."""
_BAD: Final = -1
_UNSEEN: Final = -(2**60)
_CACHED: Final = 100_000
"""Texts and numbers that are kept at once, because they come again and again."""
_SMALL: Final = 1_024
_ALWAYS_OPEN: Final = 2**62 - 1
_ANY_PRICE: Final = 2**62 - 1
"""The largest number that compiled code compares without an object."""


def price_text(price_e4: int) -> str:
    """A price as decimal text with two places, or with as many as it needs, four at most."""
    sign = ""
    if price_e4 < 0:
        sign = "-"
        price_e4 = -price_e4
    whole = price_e4 // 10_000
    rest = price_e4 % 10_000
    cents = rest // 100
    text = sign + str(whole) + (".0" if cents < 10 else ".") + str(cents)
    if rest % 100:
        more = rest % 100
        text += ("0" if more < 10 else "") + str(more)
        if text.endswith("0"):
            text = text[:-1]
    return text


def parse_price(text: str) -> int:
    """Decimal text to 1/10,000, with four decimals that are not zero at most. Raises ValueError for anything else."""
    point = text.find(".")
    if point < 0:
        value = parse_integer(text) * 10_000
        if value > _MOST or value < -_MOST:
            raise ValueError("too large")
        return value
    whole = text[:point]
    decimals = text[point + 1 :]
    places = len(decimals)
    negative = whole.startswith("-")
    if negative:
        whole = whole[1:]
    if not decimals.isascii() or not decimals.isdigit() or (whole and not (whole.isascii() and whole.isdigit())):
        raise ValueError("not a decimal number")
    if places > 4:
        if decimals[4:].strip("0"):
            raise ValueError("more than four decimals")
        decimals = decimals[:4]
        places = 4
    value = (int(whole) if whole else 0) * 10_000 + int(decimals) * (1, 1000, 100, 10, 1)[places]
    if value > _MOST:
        raise ValueError("too large")
    return -value if negative else value


def parse_integer(text: str) -> int:
    """A whole number of plain digits, with a sign or not. Raises ValueError for anything else."""
    digits = text[1:] if text.startswith("-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise ValueError("not a whole number")
    value = int(text)
    if value > _MOST or value < -_MOST:
        raise ValueError("too large")
    return value


def csv_text(text: str) -> str:
    """A field of CSV, in quotes when it needs them."""
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


class CsvReporter(Reporter):
    """Reports as lines of text, collected in `lines`; `seq` is that of the command at work.

    quoting: ids and symbols may need quotes. It is True unless who uses it knows better.
    """

    __slots__ = ("lines", "numbers", "prices", "quoting", "seq", "trades")

    def __init__(self) -> None:
        super().__init__()
        self.quoting: bool = True
        self.seq: str = ""
        self.lines: list[str] = []
        self.trades: int = 0
        self.prices: dict[int, str] = {}
        self.numbers: list[str] = [str(number) for number in range(_SMALL)]

    def number(self, number: int) -> str:
        """The text of a number of shares; most are small."""
        return self.numbers[number] if 0 <= number < _SMALL else str(number)

    def price(self, price_e4: int) -> str:
        """The text of a price; prices come again and again."""
        text = self.prices.get(price_e4)
        if text is None:
            text = price_text(price_e4)
            if len(self.prices) >= _CACHED:
                self.prices = {}
            self.prices[price_e4] = text
        return text

    def _line(self, event: str, order: Order, price_e4: int | None, quantity: int, leaves: int, reason: str) -> None:
        """A line about one order."""
        price = "" if price_e4 is None else self.price(price_e4)
        order_id = order.order_id
        symbol = order.symbol
        if self.quoting:
            order_id = csv_text(order_id)
            symbol = csv_text(symbol)
        self.lines.append(
            f"{self.seq},{event},{order_id},,{symbol},{SIDE_NAMES[order.side]},{price},{self.number(quantity)},"
            f"{self.number(leaves)},{reason}\n"
        )

    def placed(self, order: Order, reserved_e4: int) -> None:
        """ACCEPTED."""
        self._line("ACCEPTED", order, order.limit_price, order.quantity, order.quantity, "")

    def executed(self, taker: Order, maker: Order, quantity: int, price: int, market: Market) -> None:
        """TRADE, from the incoming order's side."""
        self.trades += 1
        order_id = taker.order_id
        contra_id = maker.order_id
        symbol = taker.symbol
        if self.quoting:
            order_id = csv_text(order_id)
            contra_id = csv_text(contra_id)
            symbol = csv_text(symbol)
        self.lines.append(
            f"{self.seq},TRADE,{order_id},{contra_id},{symbol},{SIDE_NAMES[taker.side]},{self.price(price)},"
            f"{self.number(quantity)},{self.number(taker.quantity - taker.cum_quantity)},\n"
        )

    def executed_away(self, order: Order, venue: str, quantity: int, price: int, market: Market) -> None:
        """TRADE with an exchange, which stands where the other order would."""
        self.trades += 1
        self.lines.append(
            f"{self.seq},TRADE,{csv_text(order.order_id)},{csv_text(venue)},{csv_text(order.symbol)},"
            f"{SIDE_NAMES[order.side]},{self.price(price)},{quantity},{order.quantity - order.cum_quantity},\n"
        )

    def crossed(self, buy: Order, sell: Order, quantity: int, price: int, market: Market) -> None:
        """TRADE in an auction, from the buyer's side."""
        self.executed(buy, sell, quantity, price, market)

    def ended(self, order: Order, status: int, reason: int, limit: int, observed: int) -> None:
        """CANCELLED or EXPIRED."""
        event = "EXPIRED" if status == ORDER_STATUS_EXPIRED else "CANCELLED"
        self._line(event, order, order.limit_price, order.quantity - order.cum_quantity, 0, REASON_CODE_NAMES[reason])

    def reduced(self, order: Order, quantity: int) -> None:
        """CANCELLED for a part of the order."""
        name = REASON_CODE_NAMES[REASON_CODE_MATCH_SELF_TRADE]
        self._line("CANCELLED", order, order.limit_price, quantity, order.quantity - order.cum_quantity, name)

    def replaced(self, order: Order) -> None:
        """REPLACED."""
        self._line("REPLACED", order, order.limit_price, order.quantity, order.quantity - order.cum_quantity, "")

    def triggered(self, order: Order, print_price: int) -> None:
        """TRIGGERED."""
        leaves = order.quantity - order.cum_quantity
        self._line("TRIGGERED", order, order.stop_price, leaves, leaves, "")


class BareDesk:
    """Rows in, lines out. `rejected` and `malformed` count what was refused.

    A row that has not the number of fields of `COMMAND_HEADER` is malformed.
    """

    __slots__ = (
        "commands",
        "known",
        "malformed",
        "matcher",
        "names",
        "price_of",
        "quantity_of",
        "rejected",
        "reporter",
    )

    def __init__(self) -> None:
        self.reporter = CsvReporter()
        self.reporter.quoting = False
        self.matcher = Matcher(self.reporter, RecentEnds(0), collared=False)
        self.known: set[str] = set()
        self.commands: int = 0
        self.rejected: int = 0
        self.malformed: int = 0
        self.price_of: dict[str, int] = {}
        self.quantity_of: dict[str, int] = {}
        # Symbols and accounts, so that orders share the texts.
        self.names: dict[str, str] = {}

    def take_lines(self) -> list[str]:
        """The lines since the last call."""
        lines = self.reporter.lines
        self.reporter.lines = []
        return lines

    def summary(self) -> tuple[int, int, int, int, int]:
        """Commands, trades, rejected, malformed, and orders that are open now."""
        return self.commands, self.reporter.trades, self.rejected, self.malformed, len(self.matcher.live)

    def apply(self, row: list[str]) -> None:
        """Apply one row of `COMMAND_HEADER`'s fields, whatever they hold."""
        self.reporter.quoting = True
        self.apply_plain(row)

    def apply_plain(self, row: list[str]) -> None:
        """Apply a row without commas, quotes and line ends in its fields; those of earlier rows are still quoted."""
        self.commands += 1
        reporter = self.reporter
        if len(row) != FIELDS:
            row = (row + [""] * FIELDS)[:FIELDS]
            reporter.seq = csv_text(row[0])
            self._reject(row, REASON_CODE_VALIDATION_MALFORMED)
            return
        reporter.seq = csv_text(row[0]) if reporter.quoting else row[0]
        command = row[2]
        if command == "NEW":
            reason = self._new(row)
        elif command == "CANCEL":
            reason = self._cancel(row)
        elif command == "REPLACE":
            reason = self._replace(row)
        else:
            reason = REASON_CODE_VALIDATION_MALFORMED
        if reason != REASON_CODE_NONE:
            self._reject(row, reason)

    def _reject(self, row: list[str], reason: int) -> None:
        """Answer a command that changes nothing, with its own fields."""
        self.rejected += 1
        if reason == REASON_CODE_VALIDATION_MALFORMED:
            self.malformed += 1
        self.reporter.lines.append(
            f"{self.reporter.seq},REJECTED,{csv_text(row[3])},,{csv_text(row[5])},{csv_text(row[6])},{csv_text(row[10])},"
            f"{csv_text(row[9])},0,{REASON_CODE_NAMES[reason]}\n"
        )

    def _price(self, text: str) -> int:
        """The same as `parse_price`, remembered."""
        price = self.price_of.get(text, _UNSEEN)
        if price == _UNSEEN:
            price = parse_price(text)
            if len(self.price_of) >= _CACHED:
                self.price_of = {}
            self.price_of[text] = price
        return price

    def _name(self, text: str) -> str:
        """The same text, as the object that came first."""
        name = self.names.get(text)
        if name is None:
            if len(self.names) >= _CACHED:
                self.names = {}
            self.names[text] = text
            return text
        return name

    def _quantity(self, text: str) -> int:
        """The same as `parse_integer`, remembered."""
        quantity = self.quantity_of.get(text, _UNSEEN)
        if quantity == _UNSEEN:
            quantity = parse_integer(text)
            if len(self.quantity_of) >= _CACHED:
                self.quantity_of = {}
            self.quantity_of[text] = quantity
        return quantity

    def _new(self, row: list[str]) -> int:
        """A new order; the reason why not, or REASON_CODE_NONE."""
        order_id = row[3]
        try:
            quantity = self._quantity(row[9])
            price: int | None = self._price(row[10]) if row[10] else None
            stop_price: int | None = self._price(row[11]) if row[11] else None
        except ValueError:
            return REASON_CODE_VALIDATION_MALFORMED
        stp = STP_MODE_CODES.get(row[12] or "NONE", _BAD)
        if stp < 0 or stp > STP_MODE_DECREMENT:
            return REASON_CODE_VALIDATION_MALFORMED
        if not order_id:
            return REASON_CODE_VALIDATION_ORDER_ID_INVALID
        if order_id in self.known:
            return REASON_CODE_VALIDATION_DUPLICATE_ORDER_ID
        side = SIDE_CODES.get(row[6], _BAD)
        if side not in (SIDE_BUY, SIDE_SELL, SIDE_SELL_SHORT):
            return REASON_CODE_VALIDATION_UNSUPPORTED_SIDE
        order_type = ORDER_TYPE_CODES.get(row[7], _BAD)
        if order_type not in (ORDER_TYPE_MARKET, ORDER_TYPE_LIMIT, ORDER_TYPE_STOP, ORDER_TYPE_STOP_LIMIT):
            return REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE
        time_in_force = TIME_IN_FORCE_CODES.get(row[8], _BAD)
        if time_in_force not in (TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC, TIME_IN_FORCE_IOC, TIME_IN_FORCE_FOK):
            return REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE
        if quantity <= 0:
            return REASON_CODE_VALIDATION_QUANTITY_NOT_POSITIVE
        is_buy = side == SIDE_BUY
        worst = _ANY_PRICE if is_buy else 1
        if order_type in (ORDER_TYPE_LIMIT, ORDER_TYPE_STOP_LIMIT):
            if price is None:
                return REASON_CODE_VALIDATION_PRICE_MISSING
            if price <= 0:
                return REASON_CODE_VALIDATION_PRICE_NOT_POSITIVE
            worst = price
        elif price is not None:
            return REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED
        if order_type in (ORDER_TYPE_STOP, ORDER_TYPE_STOP_LIMIT):
            if stop_price is None:
                return REASON_CODE_VALIDATION_STOP_PRICE_MISSING
            if stop_price <= 0:
                return REASON_CODE_VALIDATION_STOP_PRICE_INVALID
        elif stop_price is not None:
            return REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED
        self.known.add(order_id)
        order = Order(
            order_id,
            "",
            order_id,
            self._name(row[4]),
            self._name(row[5]),
            side,
            is_buy,
            order_type,
            time_in_force,
            quantity,
            price,
            worst,
            0,
            0,
            _ALWAYS_OPEN,
            stop_price,
            stp,
        )
        self.matcher.place(order, 0, 0)
        return REASON_CODE_NONE

    def _cancel(self, row: list[str]) -> int:
        """Cancel an order; the reason why not, or REASON_CODE_NONE."""
        order = self.matcher.live.get(row[3])
        if order is None:
            return REASON_CODE_CANCEL_TOO_LATE if row[3] in self.known else REASON_CODE_CANCEL_UNKNOWN_ORDER
        if row[4] and row[4] != order.account_id:
            return REASON_CODE_CANCEL_WRONG_ACCOUNT
        self.matcher.cancel(row[3])
        return REASON_CODE_NONE

    def _replace(self, row: list[str]) -> int:
        """Replace an order's terms; the reason why not, or REASON_CODE_NONE."""
        try:
            quantity = self._quantity(row[9])
            price: int | None = self._price(row[10]) if row[10] else None
            stop_price: int | None = self._price(row[11]) if row[11] else None
        except ValueError:
            return REASON_CODE_VALIDATION_MALFORMED
        order = self.matcher.live.get(row[3])
        if order is None:
            return REASON_CODE_REPLACE_TOO_LATE if row[3] in self.known else REASON_CODE_REPLACE_UNKNOWN_ORDER
        if row[4] and row[4] != order.account_id:
            return REASON_CODE_CANCEL_WRONG_ACCOUNT
        if quantity <= 0:
            return REASON_CODE_VALIDATION_QUANTITY_NOT_POSITIVE
        worst = order.worst_price
        if order.limit_price is not None:
            if price is None:
                return REASON_CODE_VALIDATION_PRICE_MISSING
            if price <= 0:
                return REASON_CODE_VALIDATION_PRICE_NOT_POSITIVE
            worst = price
        elif price is not None:
            return REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED
        if stop_price is not None:
            if order.stop_price is None or order.triggered:
                return REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED
            if stop_price <= 0:
                return REASON_CODE_VALIDATION_STOP_PRICE_INVALID
        return self.matcher.replace(row[3], quantity, price, stop_price, worst)
