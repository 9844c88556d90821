"""The invariants of accounts, recomputed from nothing: for tests, and for an operator who doubts a state.

Invariant: raises InvariantViolation when sums do not hold; changes nothing.
Complexity: linear in accounts, positions and open orders.
"""

from udfs.domain.accounts import AccountBook
from udfs.domain.book import InvariantViolation
from udfs.domain.cushion import Cushion
from udfs.domain.holdings import AccountState, OpenOrder, Position, written


class _Sums:
    """What the open orders of one account or position need."""

    __slots__ = ("buys", "money", "orders", "sells", "shorts", "upkeep")

    def __init__(self) -> None:
        self.orders: int = 0
        self.money: int = 0
        self.upkeep: int = 0
        self.buys: int = 0
        self.sells: int = 0
        self.shorts: int = 0


def check_accounts(book: AccountBook) -> None:
    """Raise InvariantViolation when the accounts contradict their orders, or money or shares were made or lost."""
    by_account: dict[str, _Sums] = {}
    by_holding: dict[str, _Sums] = {}
    value = 0
    for key, order in book.open.items():
        _check_order(book, key, order)
        shares, money, worth = _need(order)
        value += worth
        if (shares, money, worth) != (order.held_shares, order.held_e4, order.held_value_e4):
            raise InvariantViolation(f"order {order.order_id} holds {order.held_e4} for {order.held_shares} shares")
        sums = _sums(by_account, order.account.account_id)
        sums.orders += 1
        sums.money += money
        held = _sums(by_holding, order.account.account_id + "\n" + order.position.symbol)
        if order.is_buy:
            held.buys += shares
        elif order.side == 1:
            held.sells += shares
        else:
            held.shorts += shares
    if value != book.open_value_e4:
        raise InvariantViolation(f"open orders are worth {value}, not {book.open_value_e4}")
    for account_id, account in book.accounts.items():
        sums = _sums(by_account, account_id)
        for hold in account.groups.values():
            sums.money += hold.reserved_e4
            sums.upkeep += hold.maintenance_e4
        if (account.reserved_e4, account.reserved_upkeep_e4, account.open_orders) != (
            sums.money,
            sums.upkeep,
            sums.orders,
        ):
            raise InvariantViolation(f"{account_id} has reserved {account.reserved_e4}, not what its orders need")
        for symbol, position in account.positions.items():
            held = _sums(by_holding, account_id + "\n" + symbol)
            if (position.open_buys, position.open_sells, position.open_shorts) != (held.buys, held.sells, held.shorts):
                raise InvariantViolation(f"open shares of {account_id} in {symbol} are not those of its orders")
            _check_position(account, position)
        if account.margin is None:
            _check_cash(account)
        cushion = account.cushion
        if cushion is not None and cushion.stands:
            _check_cushion(account, cushion)
    _check_flows(book)


def _sums(table: dict[str, _Sums], key: str) -> _Sums:
    sums = table.get(key)
    if sums is None:
        sums = _Sums()
        table[key] = sums
    return sums


def _check_order(book: AccountBook, key: str, order: OpenOrder) -> None:
    account = order.account
    if (
        order.key != key
        or order.remaining <= 0
        or (order.total >= 0 and order.remaining != order.total - order.filled)
        or book.accounts.get(account.account_id) is not account
        or account.positions.get(order.position.symbol) is not order.position
    ):
        raise InvariantViolation(f"open order {order.order_id} is filled, or not its account's")


def _need(order: OpenOrder) -> tuple[int, int, int]:
    """Shares, money and value that an order needs: the largest over all terms it may have."""
    shares = [order.remaining]
    money = [order.remaining * order.unit_e4]
    value = [order.remaining * order.value_e4]
    for terms in order.pending or []:
        left = max(0, terms.total - order.filled)
        shares.append(left)
        money.append(left * terms.unit_e4)
        value.append(left * terms.value_e4)
    for waiting in order.awaited or []:
        shares.append(waiting.action.scaled(max(shares)))
    return max(shares), max(money), max(value)


def _check_position(account: AccountState, position: Position) -> None:
    """Shares that a cash account offers exist, but for those that an assignment has taken.

    A margin account may have a short sale filled before a long one, after which the long one opens a short position.
    """
    if position.instrument.is_option or position.instrument.is_future or account.margin is not None:
        return
    if position.open_sells > max(position.quantity, 0) + position.oversold:
        raise InvariantViolation(f"{account.account_id} offers more {position.symbol} than it holds")
    if position.quantity < 0:
        raise InvariantViolation(f"{account.account_id} is a cash account and owes {position.symbol}")


def _check_cash(account: AccountState) -> None:
    """A cash account never owes anything, unless it began so."""
    if account.buying_power() < 0 <= account.opening_cash_e4:
        raise InvariantViolation(f"{account.account_id} has promised more money than it has")
    if account.reserved_upkeep_e4:
        raise InvariantViolation(f"{account.account_id} is a cash account and reserves maintenance margin")
    secured = 0
    locked: dict[str, int] = {}
    for position in account.positions.values():
        option = position.instrument
        if option.is_option and option.is_call:
            shares = written(position) * option.multiplier
            locked[option.underlying] = locked.get(option.underlying, 0) + shares
        elif option.is_option:
            secured += written(position) * option.multiplier * option.strike_e4
    if secured != account.secured_e4:
        raise InvariantViolation(f"{account.account_id} has secured {account.secured_e4}, its puts need {secured}")
    for symbol, position in account.positions.items():
        if position.locked != locked.get(symbol, 0):
            raise InvariantViolation(f"{account.account_id} has locked {position.locked} {symbol} for written calls")
        # A reverse split leaves fewer shares than the calls were written on, until they have their new terms.
        short = position.locked > position.quantity - position.open_sells + position.oversold
        if position.locked and short and not position.instrument.was_reversed:
            raise InvariantViolation(f"{account.account_id} has written more calls on {symbol} than it can deliver")


def _check_cushion(account: AccountState, cushion: Cushion) -> None:
    """A cushion that stands is the sum over the positions, at bands that their marks are in."""
    counted = Cushion(cushion.rules)
    for symbol, position in account.positions.items():
        if position.quantity == 0:
            continue
        instrument = position.instrument
        band = position.band
        if band is None or band is not instrument.band:
            raise InvariantViolation(f"the cushion of {account.account_id} counts {symbol} at a band that has ended")
        if not band.holds(instrument.long_mark(), instrument.short_mark()):
            raise InvariantViolation(f"the marks of {symbol} have left its band, which has not ended")
        counted.count(position.quantity, band, 1)
    if (counted.equity_e4, counted.excess_e4, counted.upkeep_e4) != (
        cushion.equity_e4,
        cushion.excess_e4,
        cushion.upkeep_e4,
    ):
        raise InvariantViolation(f"the cushion of {account.account_id} is not the sum over its positions")


def _check_flows(book: AccountBook) -> None:
    """Money and units are what was loaded and what has moved."""
    flows = book.flows
    moved = flows.traded_e4 + flows.commission_e4 + flows.settled_e4 + flows.delivered_e4 + flows.in_lieu_e4
    moved += flows.deposited_e4
    units: dict[str, int] = {}
    counted: dict[str, int] = {}
    for account in book.accounts.values():
        moved -= account.cash_e4 - account.opening_cash_e4
        for symbol, position in account.positions.items():
            units[symbol] = units.get(symbol, 0) + position.quantity - position.loaded
            counted[symbol] = position.instrument.moved
    if moved != 0:
        raise InvariantViolation(f"money was made or lost: {moved}")
    for symbol, change in units.items():
        if change != counted[symbol]:
            raise InvariantViolation(
                f"units of {symbol} were made or lost: {change} came, {counted[symbol]} were moved"
            )
