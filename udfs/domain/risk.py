"""Pre-trade risk of an order or a replacement that is valid: the first limit that it breaks.

Ordering of the checks: switches and restricted list; order quantity, reference price, order notional; the account's
optional limits (limits.py); position; short sale; concentration and firm capital; shares and money. The first that
fails counts.
Invariants: nothing is reserved here; an approved purchase of a cash account can always be paid at its worst price with
commission, and an approved sale can always be delivered and its costs paid; what a margin account's order can take of the
excess is reserved (margin_check.py).
A replacement is judged as the whole new order for the limits of one order, and by what it adds for all others.
Source: the structure of checks follows Rule 15c3-5(c)(1) and (2): financial thresholds and erroneous-order limits, then
what has to be complied with before routing.
Complexity: constant for cash accounts; see margin_check.py for margin accounts.
"""

from schemas.messages.enums import (
    ORDER_TYPE_STOP,
    REASON_CODE_RISK_CLOSE_OUT,
    REASON_CODE_RISK_LOCATE_REQUIRED,
    REASON_CODE_RISK_NO_REFERENCE_PRICE,
    REASON_CODE_RISK_ORDER_NOTIONAL,
    REASON_CODE_RISK_ORDER_QUANTITY,
    REASON_CODE_RISK_POSITION_LIMIT,
    REASON_CODE_RISK_SHORT_NOT_ALLOWED,
    SIDE_BUY,
    SIDE_NAMES,
    SIDE_SELL,
    TIME_IN_FORCE_OPG,
)
from schemas.messages.orders import OrderCommand
from udfs.domain.holdings import AccountState, OpenOrder
from udfs.domain.instruments import InstrumentState
from udfs.domain.limits import (
    check_concentration,
    check_daily_notional,
    check_deviation,
    check_duplicate,
    check_firm,
    check_open_orders,
    check_rate,
    count_order,
)
from udfs.domain.margin_check import equity_of
from udfs.domain.money import money_text
from udfs.domain.refusal import Refusal
from udfs.domain.risk_money import check_cash, check_margin, cost_per_share
from udfs.domain.rules import collar_price
from udfs.domain.switches import Switches


class Ask:
    """A command under judgement: what it wants, and what approving it will reserve for each share.

    `worst_e4`: the price that it never executes beyond. `value_e4`: what one unit is valued at, with the multiplier.
    `quantity`: units open when it is approved; `extra` of them are more than what is held for the order now.
    """

    __slots__ = (
        "account",
        "command",
        "extra",
        "group_e4",
        "group_upkeep_e4",
        "instrument",
        "is_buy",
        "order",
        "quantity",
        "required_e4",
        "unit_e4",
        "value_e4",
        "worst_e4",
    )

    def __init__(
        self,
        command: OrderCommand,
        account: AccountState,
        instrument: InstrumentState,
        before_open: bool,
        order: OpenOrder | None = None,
    ) -> None:
        self.command = command
        self.account = account
        self.instrument = instrument
        # The order that is to be replaced; None for a new one.
        self.order = order
        self.is_buy: bool = command.side == SIDE_BUY
        if order is None:
            self.quantity: int = command.quantity
            self.extra: int = command.quantity
        else:
            self.quantity = max(command.quantity - order.filled, 0)
            self.extra = self.quantity - order.held_shares
        price = command.price
        if price is not None:
            self.worst_e4: int = price
            self.value_e4: int = price * instrument.multiplier
        else:
            reference = reference_price(command, instrument, before_open)
            self.worst_e4 = 0
            if reference != 0:
                self.worst_e4 = collar_price(self.is_buy, reference, instrument.tick_e4, command.timestamp)
            # A market sale is worth what the market bids; the collar is only the least that it may bring.
            self.value_e4 = (self.worst_e4 if self.is_buy else reference) * instrument.multiplier
        self.unit_e4: int = 0
        # Of a margin account: what the order takes, and what its group of orders reserves with it.
        self.required_e4: int = 0
        self.group_e4: int = 0
        self.group_upkeep_e4: int = 0

    def reserved_e4(self) -> int:
        """Money that approving a new order reserves."""
        return self.quantity * self.unit_e4 + self.required_e4

    def added_value(self) -> int:
        """Value that the command adds to what is approved."""
        value = self.quantity * self.value_e4
        order = self.order
        if order is not None:
            value -= order.held_value_e4
        return value if value > 0 else 0


def reference_price(command: OrderCommand, instrument: InstrumentState, before_open: bool) -> int:
    """What the worst price of an order without a limit starts from; 0 when there is nothing."""
    if command.order_type == ORDER_TYPE_STOP:
        return command.stop_price or 0
    if before_open or command.time_in_force >= TIME_IN_FORCE_OPG:
        # An auction needs no quote: the last price is what there is.
        return instrument.short_mark() if command.side == SIDE_BUY else instrument.long_mark()
    return instrument.ask_e4 if command.side == SIDE_BUY else instrument.bid_e4


def assess(
    ask: Ask,
    switches: Switches,
    firm_used_e4: int,
    shards: int,
    instruments: dict[str, InstrumentState],
    clock_ns: int,
) -> Refusal | None:
    """The first limit that an order breaks, or None; then `ask` says what it reserves."""
    account = ask.account
    command = ask.command
    if account.guarded or switches.active:
        refusal = switches.check(account, command.symbol, ask.is_buy, ask.extra)
        if refusal is not None:
            return refusal
    refusal = _check_order(ask)
    if refusal is not None:
        return refusal
    if account.guarded:
        refusal = _check_limits(ask)
        if refusal is not None:
            return refusal
    if ask.extra > 0:
        # A cash account never sells more shares than it holds, which is checked with its money.
        if ask.is_buy or account.margin is not None or ask.instrument.is_option:
            refusal = _check_position(ask)
        if refusal is None and command.side > SIDE_SELL:
            refusal = _check_short_sale(ask, switches)
        if refusal is None and account.max_concentration >= 0:
            equity = equity_of(account, instruments)
            refusal = check_concentration(account, ask.instrument, ask.is_buy, ask.extra, equity, command.timestamp)
        if refusal is not None:
            return refusal
    if switches.firm_capital_e4 >= 0:
        refusal = check_firm(firm_used_e4, ask.added_value(), switches.firm_capital_e4, shards)
        if refusal is not None:
            return refusal
    order = ask.order
    if account.margin is None:
        unit, refusal = check_cash(
            account,
            ask.instrument,
            ask.is_buy,
            ask.quantity,
            ask.extra,
            ask.worst_e4,
            0 if order is None else order.held_e4,
        )
        ask.unit_e4 = unit
        return refusal
    need = check_margin(
        account, instruments, ask.instrument, command, ask.quantity, ask.worst_e4, ask.value_e4, order, clock_ns
    )
    ask.unit_e4 = cost_per_share(account, ask.instrument, ask.is_buy, ask.worst_e4)
    ask.required_e4 = need.required_e4
    ask.group_e4 = need.group_e4
    ask.group_upkeep_e4 = need.group_upkeep_e4
    return need.refusal


def _check_order(ask: Ask) -> Refusal | None:
    """Limits of one order."""
    account = ask.account
    quantity = ask.command.quantity
    if quantity > account.max_order_quantity:
        return Refusal(
            REASON_CODE_RISK_ORDER_QUANTITY,
            f"quantity={quantity} max_order_quantity={account.max_order_quantity}",
            account.max_order_quantity,
            quantity,
        )
    if ask.worst_e4 == 0:
        side = "ask" if ask.is_buy else "bid"
        return Refusal(REASON_CODE_RISK_NO_REFERENCE_PRICE, f"symbol={ask.command.symbol} national_best_{side}=none")
    notional = quantity * ask.value_e4
    if notional > account.max_order_notional_e4:
        return Refusal(
            REASON_CODE_RISK_ORDER_NOTIONAL,
            f"notional={money_text(notional)} max_order_notional={money_text(account.max_order_notional_e4)} "
            f"price={money_text(ask.value_e4 // ask.instrument.multiplier)}",
            account.max_order_notional_e4,
            notional,
        )
    return None


def _check_limits(ask: Ask) -> Refusal | None:
    """The account's optional limits that need no look at its positions."""
    account = ask.account
    command = ask.command
    refusal = check_deviation(command, account, ask.instrument)
    if refusal is None:
        refusal = check_rate(command, account)
        if refusal is None:
            count_order(command, account)
    if refusal is None and ask.order is None:
        refusal = check_duplicate(command, account)
        if refusal is None:
            refusal = check_open_orders(account)
    if refusal is None:
        refusal = check_daily_notional(account, ask.added_value())
    return refusal


def _check_position(ask: Ask) -> Refusal | None:
    """Units of one instrument, long or short, with everything that is open on the order's side."""
    account = ask.account
    position = account.positions.get(ask.command.symbol)
    held = 0
    open_buys = 0
    offered = 0
    if position is not None:
        held = position.quantity
        open_buys = position.open_buys
        offered = position.offered()
    if ask.is_buy:
        after = held + open_buys + ask.extra
        if after > account.max_position:
            return Refusal(
                REASON_CODE_RISK_POSITION_LIMIT,
                f"position={held} open_buys={open_buys} quantity={ask.extra} max_position={account.max_position}",
                account.max_position,
                after,
            )
        return None
    after = offered + ask.extra - held
    if after > account.max_position:
        return Refusal(
            REASON_CODE_RISK_POSITION_LIMIT,
            f"position={held} open_sells={offered} quantity={ask.extra} max_position={account.max_position}",
            account.max_position,
            after,
        )
    return None


def _check_short_sale(ask: Ask, switches: Switches) -> Refusal | None:
    """Only margin accounts may borrow, and what they sell short must have been located (Rule 203), or borrowed (204(b))."""
    account = ask.account
    command = ask.command
    if account.margin is None:
        return Refusal(REASON_CODE_RISK_SHORT_NOT_ALLOWED, f"side={SIDE_NAMES[command.side]} account_type=CASH")
    closed_out = not switches.must_borrow(account, command.symbol)
    if ask.instrument.easy_to_borrow and closed_out:
        return None
    located = account.locates.get(command.symbol, 0)
    wanted = ask.extra
    order = ask.order
    if order is not None:
        # What the order holds of the locates already counts.
        wanted = ask.quantity + order.filled - order.located
    if not closed_out:
        if wanted <= located:
            return None
        return Refusal(
            REASON_CODE_RISK_CLOSE_OUT,
            f"symbol={command.symbol} borrowed={located} quantity={wanted}",
            located,
            wanted,
        )
    locate_id = command.locate_id
    if wanted > 0 and (not locate_id or located < wanted):
        return Refusal(
            REASON_CODE_RISK_LOCATE_REQUIRED,
            f"locate_id={locate_id or 'none'} located={located} quantity={wanted}",
            located,
            wanted,
        )
    return None
