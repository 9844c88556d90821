"""Whether an account can carry an order: shares and cash of a cash account, margin of a margin account.

Ordering of the checks of a margin account: freeze, minimum equity, day trader, intraday block, initial margin.
Invariants: pure; amounts per unit are rounded up. An order that takes nothing of the excess, because it closes what is
open, is never refused for margin.
Cash accounts: a purchase reserves its worst price and the commission; a sale brings at least its worst price, so it
reserves only what commission and regulatory fees (fees.py) may take beyond that, and with it no fill can make the free
cash negative. A call is
written against shares that are held and not offered, a put against its strike in cash. Futures need a margin account.
Margin accounts: the excess over the initial requirement, less what is reserved, has to cover what the order takes of it
(margin_groups.py). Money that lies in the account can always buy: the minimum equity does not keep a customer from a
purchase that is paid in full. A pattern day trader under the legacy rule is limited by day-trading buying power in
place of the initial requirement.
Sources: 12 CFR 220.12, FINRA Rule 4210; see margin_rules.py.
Complexity: constant for cash accounts; see margin_groups.py for margin accounts, and linear in its positions where an
account's cushion (cushion.py) does not show that it can carry the order.
"""

from schemas.messages.enums import (
    INTRADAY_RULE_BLOCK,
    INTRADAY_RULE_LEGACY_DAY_TRADER,
    REASON_CODE_RISK_ACCOUNT_FROZEN,
    REASON_CODE_RISK_BUYING_POWER,
    REASON_CODE_RISK_DAY_TRADING,
    REASON_CODE_RISK_INITIAL_MARGIN,
    REASON_CODE_RISK_INSUFFICIENT_POSITION,
    REASON_CODE_RISK_INTRADAY_MARGIN,
    REASON_CODE_RISK_MINIMUM_EQUITY,
    SIDE_BUY,
)
from schemas.messages.orders import OrderCommand
from udfs.domain.fees import fee_allowance_e4
from udfs.domain.holdings import AccountState, OpenOrder
from udfs.domain.instruments import InstrumentState
from udfs.domain.margin_check import Worth, cushion_of, worth_of
from udfs.domain.margin_groups import MAX_AXES, Work, group_of, group_reservation, work_of
from udfs.domain.margin_rules import DayTraderTerms, day_trader_terms, intraday_rule, stock_margin
from udfs.domain.margin_state import UNKNOWN_E4, MarginState
from udfs.domain.money import money_text
from udfs.domain.refusal import Refusal


class Need:
    """What a margin account's order takes, what its group of orders reserves with it, or why it is refused."""

    __slots__ = ("group_e4", "group_upkeep_e4", "refusal", "required_e4")

    def __init__(self) -> None:
        self.required_e4: int = 0
        self.group_e4: int = 0
        self.group_upkeep_e4: int = 0
        self.refusal: Refusal | None = None


def cost_per_share(account: AccountState, instrument: InstrumentState, is_buy: bool, worst_e4: int) -> int:
    """The most that a unit of an order costs beside its price: the commission, and the regulatory fees of a sale."""
    if is_buy or not instrument.pays_fees():
        return account.commission_e4
    return account.commission_e4 + fee_allowance_e4(worst_e4)


def reserve_per_share(is_buy: bool, worst_e4: int, cost_e4: int) -> int:
    """Money that each unit of a cash account's order reserves; `worst_e4` with the multiplier."""
    if is_buy:
        return worst_e4 + cost_e4
    return cost_e4 - worst_e4 if cost_e4 > worst_e4 else 0


def check_cash(
    account: AccountState,
    instrument: InstrumentState,
    is_buy: bool,
    quantity: int,
    extra: int,
    worst_e4: int,
    held_e4: int,
) -> tuple[int, Refusal | None]:
    """What each unit reserves, and why the order is refused, of a cash account.

    quantity: units open with it; extra: how many more than now; held_e4: money held for the order already.
    """
    if instrument.is_future:
        return 0, Refusal(REASON_CODE_RISK_INITIAL_MARGIN, "account_type=CASH asset_class=FUTURE")
    cost_e4 = cost_per_share(account, instrument, is_buy, worst_e4)
    unit = reserve_per_share(is_buy, worst_e4 * instrument.multiplier, cost_e4)
    required = quantity * unit - held_e4
    if not is_buy and extra > 0:
        position = account.positions.get(instrument.symbol)
        held = 0 if position is None else position.quantity
        offered = 0 if position is None else position.offered()
        locked = 0 if position is None else position.locked
        if held - offered - locked < extra:
            if not instrument.is_option:
                covering = f" covering_calls={locked}" if locked else ""
                return unit, Refusal(
                    REASON_CODE_RISK_INSUFFICIENT_POSITION,
                    f"position={held} open_sells={offered}{covering} quantity={extra}",
                    held - offered - locked,
                    extra,
                )
            written = extra - max(held - offered, 0)
            if instrument.is_call:
                refusal = _check_cover(account, instrument, written)
                if refusal is not None:
                    return unit, refusal
            else:
                required += written * instrument.strike_e4 * instrument.multiplier
    available = account.buying_power()
    if required > 0 and required > available:
        secured = f" secured={money_text(account.secured_e4)}" if account.secured_e4 else ""
        return unit, Refusal(
            REASON_CODE_RISK_BUYING_POWER,
            f"required={money_text(required)} available={money_text(available)} cash={money_text(account.cash_e4)} "
            f"reserved={money_text(account.reserved_e4)}{secured}",
            available,
            required,
        )
    return unit, None


def _check_cover(account: AccountState, call: InstrumentState, contracts: int) -> Refusal | None:
    """A cash account writes calls against shares that it holds and has not offered."""
    underlying = account.positions.get(call.underlying)
    free = 0 if underlying is None else underlying.quantity - underlying.open_sells - underlying.locked
    wanted = contracts * call.multiplier
    if not call.broad_index and free >= wanted:
        return None
    return Refusal(
        REASON_CODE_RISK_INSUFFICIENT_POSITION,
        f"underlying={call.underlying} uncommitted={free} quantity={wanted}",
        free,
        wanted,
    )


def check_margin(
    account: AccountState,
    instruments: dict[str, InstrumentState],
    instrument: InstrumentState,
    command: OrderCommand,
    quantity: int,
    worst_e4: int,
    unit_value_e4: int,
    order: OpenOrder | None,
    clock_ns: int,
) -> Need:
    """What an order for `quantity` open units takes, or why it is refused, of a margin account.

    order: the one that it replaces; until matching has answered, the larger need of both counts.
    """
    need = Need()
    margin = account.margin
    is_buy = command.side == SIDE_BUY
    time_ns = max(clock_ns, command.timestamp)
    group = group_of(instrument)
    work = Work(instrument, is_buy, quantity, worst_e4)
    fees = quantity * cost_per_share(account, instrument, is_buy, worst_e4)
    if order is not None:
        now = work_of(order)
        work.quantity = max(quantity, now.quantity)
        work.worst_e4 = max(worst_e4, now.worst_e4) if is_buy else min(worst_e4, now.worst_e4)
        fees = max(fees - order.held_e4, 0)
    found = group_reservation(account, instruments, group, work, order, time_ns)
    current = group_reservation(account, instruments, group, None, None, time_ns)
    if found is None or current is None:
        need.refusal = Refusal(REASON_CODE_RISK_INITIAL_MARGIN, f"underlying={group} max_sides_with_orders={MAX_AXES}")
        return need
    need.group_e4 = found.initial_e4
    need.group_upkeep_e4 = found.maintenance_e4
    added = found.initial_e4 - current.initial_e4
    if margin is None or added <= 0:
        return need
    held = account.groups.get(group)
    held_e4 = 0 if held is None else held.reserved_e4
    held_upkeep_e4 = 0 if held is None else held.maintenance_e4
    need.required_e4 = found.initial_e4 - held_e4
    required = need.required_e4 + fees
    rule = intraday_rule(margin.intraday_rule, time_ns)
    terms = day_trader_terms(time_ns)
    legacy = terms is not None and margin.day_trader and rule == INTRADAY_RULE_LEGACY_DAY_TRADER
    frozen = margin.frozen_until_ns > time_ns
    upkeep = found.maintenance_e4 - held_upkeep_e4 + fees
    minimum = stock_margin(time_ns).minimum_equity_e4
    if not frozen and not legacy:
        cushion = cushion_of(account, time_ns)
        if (
            cushion is not None
            and cushion.equity_e4 + account.cash_e4 >= minimum
            and cushion.excess_e4 + account.cash_e4 - account.reserved_e4 >= required
            and (
                rule != INTRADAY_RULE_BLOCK
                or cushion.upkeep_e4 + account.cash_e4 - account.reserved_upkeep_e4 >= upkeep
            )
        ):
            return need
    if frozen and not _is_paid(account, instrument, work, order):
        need.refusal = Refusal(
            REASON_CODE_RISK_ACCOUNT_FROZEN,
            f"frozen_until_ns={margin.frozen_until_ns} cash={money_text(account.cash_e4)}",
        )
        return need
    worth = worth_of(account, instruments, time_ns)
    if worth.equity_e4 < minimum and not _is_paid(account, instrument, work, order):
        need.refusal = Refusal(
            REASON_CODE_RISK_MINIMUM_EQUITY,
            f"equity={money_text(worth.equity_e4)} minimum_equity={money_text(minimum)}",
            minimum,
            worth.equity_e4,
        )
        return need
    if terms is not None and legacy:
        value = quantity * unit_value_e4
        in_use = worth.maintenance_e4 + account.reserved_upkeep_e4
        if order is not None:
            value = max(value - order.held_value_e4, 0)
        need.refusal = _check_day_trader(margin, terms, worth, value, in_use)
        return need
    if rule == INTRADAY_RULE_BLOCK:
        free = worth.maintenance_excess() - account.reserved_upkeep_e4
        if upkeep > free:
            need.refusal = Refusal(
                REASON_CODE_RISK_INTRADAY_MARGIN,
                f"required={money_text(upkeep)} available={money_text(free)} equity={money_text(worth.equity_e4)} "
                f"maintenance={money_text(worth.maintenance_e4)} reserved={money_text(account.reserved_upkeep_e4)}",
                free,
                upkeep,
            )
            return need
    available = worth.excess() - account.reserved_e4
    if required > available:
        need.refusal = Refusal(
            REASON_CODE_RISK_INITIAL_MARGIN,
            f"required={money_text(required)} available={money_text(available)} equity={money_text(worth.equity_e4)} "
            f"initial_margin={money_text(worth.initial_e4)} reserved={money_text(account.reserved_e4)}",
            available,
            required,
        )
    return need


def _is_paid(account: AccountState, instrument: InstrumentState, work: Work, order: OpenOrder | None) -> bool:
    """Whether an order is a purchase that money which lies in the account pays in full."""
    if not work.is_buy or instrument.is_future:
        return False
    full_e4 = work.quantity * (work.worst_e4 * instrument.multiplier + account.commission_e4)
    own = 0 if order is None else order.held_shares
    return full_e4 <= uncommitted_cash(account, instrument, own)


def uncommitted_cash(account: AccountState, instrument: InstrumentState | None, held_shares: int) -> int:
    """Cash that open purchases and what is owed leave over; `held_shares` of an instrument, a replaced order's own, do not
    count."""
    cash = account.cash_e4
    for position in account.positions.values():
        other = position.instrument
        buys = position.open_buys
        if other is instrument:
            buys -= held_shares
        if buys > 0 and not other.is_future:
            cash -= buys * (other.short_mark() * other.multiplier + account.commission_e4)
        if position.quantity < 0 and not other.is_future:
            # The proceeds of what was sold short are its collateral.
            cash += position.quantity * other.short_mark() * other.multiplier
    return cash


def _check_day_trader(
    margin: MarginState, terms: DayTraderTerms, worth: Worth, value_e4: int, in_use_e4: int
) -> Refusal | None:
    """Legacy rule: $25,000, and four times the maintenance excess of the last close less what is in use."""
    equity = worth.equity_e4 if margin.prior_equity_e4 == UNKNOWN_E4 else margin.prior_equity_e4
    if equity < terms.minimum_equity_e4:
        return Refusal(
            REASON_CODE_RISK_DAY_TRADING,
            f"equity_at_close={money_text(equity)} minimum_equity={money_text(terms.minimum_equity_e4)}",
            terms.minimum_equity_e4,
            equity,
        )
    power = terms.multiple * (equity - in_use_e4)
    if value_e4 > power:
        return Refusal(
            REASON_CODE_RISK_DAY_TRADING,
            f"value={money_text(value_e4)} day_trading_buying_power={money_text(power)} "
            f"equity_at_close={money_text(equity)} maintenance_in_use={money_text(in_use_e4)}",
            power,
            value_e4,
        )
    return None
