"""Accounts in the risk stage: cash, positions, and what open orders have reserved of both.

Ordering: a reservation is made when an order or a replacement is approved, and only outcomes of matching change it: a
fill turns its part into cash and shares, an end releases the rest. Nothing is assumed before it has happened.
Replacements wait in the order of their approval; until matching has answered one, the larger need of the terms before
and after it is reserved.
Invariants (`AccountBook.check`): what an account has reserved is the sum over its open orders; a cash account offers no
more shares than it holds and its free cash is never below zero, unless it began below zero; cash is the opening cash
and what `Flows` says that has moved, and so are the units of each instrument (`moved`).
Known limits: one currency; a future has no value of its own, its gains and losses are paid at each settlement.
Complexity: constant for each order and outcome.
"""

from __future__ import annotations

from schemas.messages.enums import SIDE_SELL
from udfs.domain.book import InvariantViolation
from udfs.domain.holdings import AccountState, GroupHold, OpenOrder, Position, Terms, relock


class Flows:
    """Sums of the money of all accounts that has moved, by cause; units that moved are counted with their instrument."""

    __slots__ = ("commission_e4", "delivered_e4", "deposited_e4", "in_lieu_e4", "settled_e4", "traded_e4")

    def __init__(self) -> None:
        self.traded_e4: int = 0
        self.commission_e4: int = 0
        self.settled_e4: int = 0
        self.delivered_e4: int = 0
        self.in_lieu_e4: int = 0
        # What customers brought, less what they took out.
        self.deposited_e4: int = 0


class AccountBook:
    """The accounts of a shard and their open orders; the value of what is open, and of what was filled in the session."""

    __slots__ = ("accounts", "filled_value_e4", "flows", "margin_accounts", "open", "open_value_e4")

    def __init__(self) -> None:
        self.accounts: dict[str, AccountState] = {}
        self.margin_accounts: list[AccountState] = []
        self.open: dict[str, OpenOrder] = {}
        self.flows = Flows()
        self.open_value_e4: int = 0
        self.filled_value_e4: int = 0

    def reserve(self, order: OpenOrder) -> None:
        """Open an order: reserve its money and its shares."""
        if order.key in self.open:
            raise InvariantViolation(f"order {order.order_id} of {order.account.account_id} is open already")
        self.open[order.key] = order
        account = order.account
        account.open_orders += 1
        if account.margin is not None:
            account.orders[order.key] = order
            order.position.orders[order.key] = order
        if order.pending is None and order.awaited is None:
            self._hold_plain(order, order.remaining)
        else:
            self.hold(order)

    def _hold_plain(self, order: OpenOrder, shares: int) -> None:
        """`hold` for an order that no replacement waits for."""
        account = order.account
        money = shares * order.unit_e4
        account.reserved_e4 += money - order.held_e4
        order.held_e4 = money
        value = shares * order.value_e4
        self.open_value_e4 += value - order.held_value_e4
        order.held_value_e4 = value
        change = shares - order.held_shares
        order.held_shares = shares
        position = order.position
        if order.is_buy:
            position.open_buys += change
        elif order.side == SIDE_SELL:
            position.open_sells += change
        else:
            position.open_shorts += change
        if position.instrument.is_option and account.margin is None:
            relock(account, position)

    def replace(self, order: OpenOrder, terms: Terms) -> None:
        """A replacement was approved: from now on the larger need is reserved."""
        pending = order.pending
        if pending is None:
            pending = []
            order.pending = pending
        pending.append(terms)
        self.hold(order)

    def hold(self, order: OpenOrder) -> None:
        """Bring the sums of account and position to what the order needs now."""
        pending = order.pending
        awaited = order.awaited
        if pending is None and awaited is None:
            self._hold_plain(order, order.remaining)
            return
        shares = order.remaining
        money = shares * order.unit_e4
        value = shares * order.value_e4
        for terms in pending or []:
            left = terms.total - order.filled
            if left > 0:
                shares = max(shares, left)
                money = max(money, left * terms.unit_e4)
                value = max(value, left * terms.value_e4)
        for waiting in awaited or []:
            shares = max(shares, waiting.action.scaled(shares))
        account = order.account
        account.reserved_e4 += money - order.held_e4
        self.open_value_e4 += value - order.held_value_e4
        change = shares - order.held_shares
        order.held_e4 = money
        order.held_value_e4 = value
        order.held_shares = shares
        position = order.position
        if order.is_buy:
            position.open_buys += change
        elif order.side == SIDE_SELL:
            position.open_sells += change
        else:
            position.open_shorts += change
        if position.instrument.is_option and account.margin is None:
            relock(account, position)

    def hold_group(self, account: AccountState, group: str, reserved_e4: int, maintenance_e4: int) -> None:
        """Set what a group of a margin account's orders reserves; nothing when it is 0."""
        hold = account.groups.get(group)
        if hold is not None:
            account.reserved_e4 -= hold.reserved_e4
            account.reserved_upkeep_e4 -= hold.maintenance_e4
        account.reserved_e4 += reserved_e4
        account.reserved_upkeep_e4 += maintenance_e4
        if reserved_e4 == 0 and maintenance_e4 == 0:
            account.groups.pop(group, None)
        elif hold is None:
            account.groups[group] = GroupHold(reserved_e4, maintenance_e4)
        else:
            hold.reserved_e4 = reserved_e4
            hold.maintenance_e4 = maintenance_e4

    def settle(
        self,
        order: OpenOrder,
        quantity: int,
        notional_e4: int,
        commission_e4: int,
        leaves: int,
        terminal: bool,
        total: int = -1,
        applied: int = 0,
        refused: int = 0,
    ) -> None:
        """Apply what a batch of matching did to an open order; `total`: its shares after the batch, -1 as before.

        Raises InvariantViolation when it does not follow from the order as it is known here: an outcome was lost, or
        came twice, or is another order's. Going on would make wrong money out of it.
        """
        account = order.account
        if total < 0 and applied == 0 and refused == 0:
            remaining = order.remaining - quantity
        else:
            remaining = self._answered(order, quantity, leaves, total, applied, refused)
        if (
            quantity < 0
            or quantity > order.held_shares
            or (leaves != 0 if terminal else leaves != remaining or leaves <= 0)
        ):
            raise InvariantViolation(
                f"outcome of order {order.order_id} of {account.account_id} does not follow: {order.remaining} open here, "
                f"{quantity} filled, {leaves} left, terminal={terminal}; an outcome was lost or applied twice"
            )
        if quantity:
            self._fill(order, quantity, notional_e4, commission_e4)
        if terminal:
            order.remaining = 0
            order.pending = None
            order.awaited = None
            self._hold_plain(order, 0)
            self._end(order)
        else:
            order.remaining = remaining
            self.hold(order)
        position = order.position
        if position.oversold:
            position.oversold = max(0, min(position.oversold, position.open_sells - max(position.quantity, 0)))

    def _fill(self, order: OpenOrder, quantity: int, notional_e4: int, commission_e4: int) -> None:
        """Turn filled shares into shares and money."""
        account = order.account
        position = order.position
        instrument = position.instrument
        order.filled += quantity
        self.filled_value_e4 += quantity * order.value_e4
        flows = self.flows
        flows.commission_e4 -= commission_e4
        account.cash_e4 -= commission_e4
        if instrument.is_future:
            position.basis_e4 += notional_e4 if order.is_buy else -notional_e4
        else:
            paid = notional_e4 * instrument.multiplier
            if not order.is_buy:
                paid = -paid
            account.cash_e4 -= paid
            flows.traded_e4 -= paid
        change = quantity if order.is_buy else -quantity
        account.move(position, change)
        instrument.moved += change

    def _answered(self, order: OpenOrder, quantity: int, leaves: int, total: int, applied: int, refused: int) -> int:
        """Take the answers to replacements and a new total over; returns what should be open after the batch."""
        pending = order.pending
        waiting = 0 if pending is None else len(pending)
        if applied < 0 or refused < 0 or applied + refused > waiting:
            raise InvariantViolation(
                f"{applied} replacements applied and {refused} refused of order {order.order_id} of "
                f"{order.account.account_id}, but {waiting} wait for an answer; an outcome was lost or applied twice"
            )
        if pending is not None and applied + refused > 0:
            newest = pending[applied - 1] if applied > 0 else None
            # With both in one batch it is not known which ones were refused: the dearest terms are kept.
            unit = order.unit_e4 if newest is None else newest.unit_e4
            if applied > 0 and refused > 0:
                for terms in pending[: applied + refused]:
                    unit = max(unit, terms.unit_e4)
            if newest is not None:
                order.price_e4 = newest.price_e4
                order.stop_price_e4 = newest.stop_price_e4
                order.worst_e4 = newest.worst_e4
                order.value_e4 = newest.value_e4
                order.unit_e4 = unit
                if total < 0:
                    total = newest.total
            order.pending = pending[applied + refused :] or None
        if total < 0:
            return order.remaining - quantity
        if order.total < 0:
            # Restored from a release that did not keep the total: the first outcome that names it gives it.
            order.filled = total - leaves - quantity
        order.total = total
        return total - order.filled - quantity

    def _end(self, order: OpenOrder) -> None:
        """An order has ended: forget it, and give back the shares that were located for it and not sold."""
        del self.open[order.key]
        account = order.account
        account.open_orders -= 1
        if account.margin is not None:
            account.orders.pop(order.key, None)
            order.position.orders.pop(order.key, None)
        back = order.located - order.filled
        if back > 0:
            account.locates[order.position.symbol] = account.locates.get(order.position.symbol, 0) + back

    def move_cash(self, account: AccountState, amount_e4: int, by_settlement: bool) -> None:
        """Money comes to an account (negative: leaves it) by a futures settlement, or by an exercise."""
        account.cash_e4 += amount_e4
        if by_settlement:
            self.flows.settled_e4 += amount_e4
        else:
            self.flows.delivered_e4 += amount_e4

    def deposit(self, account: AccountState, amount_e4: int) -> None:
        """A customer brings money to an account (negative: takes it out)."""
        account.cash_e4 += amount_e4
        self.flows.deposited_e4 += amount_e4

    def pay_in_lieu(self, account: AccountState, amount_e4: int) -> None:
        """Money for the fraction of a share that a split leaves (negative: for one that is owed)."""
        account.cash_e4 += amount_e4
        self.flows.in_lieu_e4 += amount_e4

    def move_position(self, account: AccountState, position: Position, change: int) -> None:
        """Units come to a position by an exercise, an assignment, an expiration or a split."""
        account.move(position, change)
        position.instrument.moved += change
        if position.open_sells > 0:
            position.oversold = max(position.oversold, position.open_sells - max(position.quantity, 0))
        if position.instrument.is_option and account.margin is None:
            relock(account, position)
