"""Accounts in the risk stage: cash, positions, and what open orders have reserved of both.

Ordering: a reservation is made when an order is approved, and only outcomes of matching change it: a fill turns its
part into cash and shares, an end releases the rest. Nothing is assumed before it has happened.
Invariants (`AccountBook.check`): what an account has reserved is the sum over its open orders; shares on offer never
exceed the position; free cash is never below zero unless the account began below zero.
Known limits: cash accounts, long positions; a sale reserves shares, and money only when it may bring less than its
commission.
Complexity: constant for each order and outcome.
"""

from udfs.domain.book import InvariantViolation


class Position:
    """Shares of one symbol in one account: held, and open in orders."""

    __slots__ = ("open_buys", "open_sells", "quantity", "symbol")

    def __init__(self, symbol: str, quantity: int) -> None:
        self.symbol = symbol
        self.quantity = quantity
        self.open_buys: int = 0
        self.open_sells: int = 0


class AccountState:
    """An account; money in 1/10,000. `cash_e4` is moved by fills, `reserved_e4` of it is promised to open orders."""

    __slots__ = (
        "account_id",
        "active",
        "cash_e4",
        "commission_e4",
        "desk",
        "max_order_notional_e4",
        "max_order_quantity",
        "max_position",
        "name",
        "opening_cash_e4",
        "positions",
        "reserved_e4",
    )

    def __init__(self, account_id: str, cash_e4: int) -> None:
        self.account_id = account_id
        self.opening_cash_e4 = cash_e4
        self.cash_e4 = cash_e4
        self.reserved_e4: int = 0
        self.name: str = ""
        self.desk: str = ""
        self.active: bool = False
        self.max_order_quantity: int = 0
        self.max_order_notional_e4: int = 0
        self.max_position: int = 0
        self.commission_e4: int = 0
        self.positions: dict[str, Position] = {}

    def buying_power(self) -> int:
        """Cash that is not promised to open orders."""
        return self.cash_e4 - self.reserved_e4

    def position(self, symbol: str) -> Position:
        """The position in a symbol, made when there is none."""
        position = self.positions.get(symbol)
        if position is None:
            position = Position(symbol, 0)
            self.positions[symbol] = position
        return position


class OpenOrder:
    """An approved order that has not ended: `remaining` shares, each reserving `unit_e4` of money."""

    __slots__ = ("account", "is_buy", "key", "order_id", "position", "remaining", "unit_e4")

    def __init__(
        self,
        key: str,
        order_id: str,
        account: AccountState,
        position: Position,
        is_buy: bool,
        remaining: int,
        unit_e4: int,
    ) -> None:
        self.key = key
        self.order_id = order_id
        self.account = account
        self.position = position
        self.is_buy = is_buy
        self.remaining = remaining
        self.unit_e4 = unit_e4


class AccountBook:
    """The accounts of a shard and their open orders."""

    __slots__ = ("accounts", "open")

    def __init__(self) -> None:
        self.accounts: dict[str, AccountState] = {}
        self.open: dict[str, OpenOrder] = {}

    def reserve(self, order: OpenOrder) -> None:
        """Open an order: reserve its money and its shares."""
        if order.key in self.open:
            raise InvariantViolation(f"order {order.order_id} of {order.account.account_id} is open already")
        self.open[order.key] = order
        order.account.reserved_e4 += order.remaining * order.unit_e4
        if order.is_buy:
            order.position.open_buys += order.remaining
        else:
            order.position.open_sells += order.remaining

    def settle(
        self, order: OpenOrder, quantity: int, notional_e4: int, commission_e4: int, leaves: int, terminal: bool
    ) -> None:
        """Apply what a batch of matching did to an open order.

        Raises InvariantViolation when it does not follow from the order as it is known here: an outcome was lost, or
        came twice, or is another order's. Going on would make wrong money out of it.
        """
        account = order.account
        remaining = order.remaining - quantity
        if quantity < 0 or remaining < 0 or (leaves != 0 if terminal else leaves != remaining or leaves == 0):
            raise InvariantViolation(
                f"outcome of order {order.order_id} of {account.account_id} does not follow: {order.remaining} open here, "
                f"{quantity} filled, {leaves} left, terminal={terminal}; an outcome was lost or applied twice"
            )
        released = order.remaining if terminal else quantity
        account.reserved_e4 -= released * order.unit_e4
        position = order.position
        if order.is_buy:
            position.open_buys -= released
            position.quantity += quantity
            account.cash_e4 -= notional_e4 + commission_e4
        else:
            position.open_sells -= released
            position.quantity -= quantity
            account.cash_e4 += notional_e4 - commission_e4
        order.remaining = 0 if terminal else remaining
        if terminal:
            del self.open[order.key]

    def check(self) -> None:
        """Raise InvariantViolation when sums do not hold; linear in accounts, positions and open orders."""
        reserved: dict[str, int] = {}
        buys: dict[str, int] = {}
        sells: dict[str, int] = {}
        for key, order in self.open.items():
            account = order.account
            if (
                order.key != key
                or order.remaining <= 0
                or self.accounts.get(account.account_id) is not account
                or account.positions.get(order.position.symbol) is not order.position
            ):
                raise InvariantViolation(f"open order {order.order_id} is filled, or not its account's")
            holding = account.account_id + "\n" + order.position.symbol
            reserved[account.account_id] = reserved.get(account.account_id, 0) + order.remaining * order.unit_e4
            if order.is_buy:
                buys[holding] = buys.get(holding, 0) + order.remaining
            else:
                sells[holding] = sells.get(holding, 0) + order.remaining
        for account_id, account in self.accounts.items():
            if account.reserved_e4 != reserved.get(account_id, 0):
                raise InvariantViolation(f"{account_id} has reserved {account.reserved_e4}, not what its orders need")
            if account.buying_power() < 0 <= account.opening_cash_e4:
                raise InvariantViolation(f"{account_id} has promised more money than it has")
            for symbol, position in account.positions.items():
                holding = account_id + "\n" + symbol
                if position.open_buys != buys.get(holding, 0) or position.open_sells != sells.get(holding, 0):
                    raise InvariantViolation(f"open shares of {account_id} in {symbol} are not those of its orders")
                if position.open_sells > position.quantity and position.open_sells > 0:
                    raise InvariantViolation(f"{account_id} offers more {symbol} than it holds")
