"""What operators have switched off: orders of the firm, of accounts and of symbols; and the restricted list.

Ordering: the last control counts. KILL is above REDUCE: REDUCE does not weaken a KILL, RESUME of the same scope ends
both, and the other scopes stay as they are.
Invariants: `active` is true exactly when the firm or any symbol has a switch or a restriction; the switches of an
account are kept with the account.
Complexity: constant.
"""

from schemas.messages.enums import (
    REASON_CODE_RISK_KILL_SWITCH,
    REASON_CODE_RISK_REDUCE_ONLY,
    REASON_CODE_RISK_RESTRICTED,
)
from udfs.domain.holdings import MODE_ACTIVE, MODE_KILL, AccountState
from udfs.domain.refusal import Refusal


class Switches:
    """The firm's and the symbols' switches, and the firm's restricted list."""

    __slots__ = ("active", "close_outs", "firm", "firm_capital_e4", "restricted", "symbols")

    def __init__(self) -> None:
        self.firm: int = MODE_ACTIVE
        self.symbols: dict[str, int] = {}
        self.restricted: dict[str, bool] = {}
        # The firm's capital threshold; negative: none.
        self.firm_capital_e4: int = -1
        self.active: bool = False
        # Symbols of which the firm has missed to close out a fail (close_out.py).
        self.close_outs: dict[str, bool] = {}

    def set_firm(self, mode: int) -> None:
        """Switch the firm; MODE_ACTIVE ends what was set."""
        self.firm = MODE_ACTIVE if mode == MODE_ACTIVE else max(mode, self.firm)
        self.refresh()

    def set_symbol(self, symbol: str, mode: int) -> None:
        """Switch a symbol."""
        if mode == MODE_ACTIVE:
            self.symbols.pop(symbol, None)
        else:
            self.symbols[symbol] = max(mode, self.symbols.get(symbol, MODE_ACTIVE))
        self.refresh()

    def restrict(self, symbol: str, restricted: bool) -> None:
        """Put a symbol on the firm's restricted list, or take it off."""
        if restricted:
            self.restricted[symbol] = True
        else:
            self.restricted.pop(symbol, None)
        self.refresh()

    def refresh(self) -> None:
        """Look again whether anything has to be checked."""
        self.active = self.firm != MODE_ACTIVE or len(self.symbols) > 0 or len(self.restricted) > 0

    def must_borrow(self, account: AccountState, symbol: str) -> bool:
        """Whether a missed close-out of the firm or the account lets only borrowed shares be sold short (Rule 204(b))."""
        return symbol in self.close_outs or symbol in account.close_outs

    def check(self, account: AccountState, symbol: str, is_buy: bool, added: int) -> Refusal | None:
        """Kill switch, restricted list, then reduce-only; `added`: units that the command adds to what is open."""
        on_symbol = self.symbols.get(symbol, MODE_ACTIVE)
        for mode, scope in ((self.firm, "ALL"), (account.mode, "ACCOUNT"), (on_symbol, "SYMBOL")):
            if mode == MODE_KILL:
                return Refusal(REASON_CODE_RISK_KILL_SWITCH, _where(scope, account, symbol))
        if symbol in self.restricted:
            return Refusal(REASON_CODE_RISK_RESTRICTED, _where("ALL", account, symbol) + " symbol=" + symbol)
        if symbol in account.restricted:
            return Refusal(REASON_CODE_RISK_RESTRICTED, _where("ACCOUNT", account, symbol) + " symbol=" + symbol)
        margin = account.margin
        forced = margin is not None and margin.reduce_only
        if self.firm == MODE_ACTIVE and account.mode == MODE_ACTIVE and on_symbol == MODE_ACTIVE and not forced:
            return None
        if added <= 0 or _reduces(account, symbol, is_buy, added):
            return None
        scope = "FORCED_REDUCTION"
        if self.firm != MODE_ACTIVE:
            scope = "ALL"
        elif account.mode != MODE_ACTIVE:
            scope = "ACCOUNT"
        elif on_symbol != MODE_ACTIVE:
            scope = "SYMBOL"
        position = account.positions.get(symbol)
        held = 0 if position is None else position.quantity
        return Refusal(
            REASON_CODE_RISK_REDUCE_ONLY,
            _where(scope, account, symbol) + f" position={held} quantity={added}",
            held,
            added,
        )


def _where(scope: str, account: AccountState, symbol: str) -> str:
    """The scope and what it names."""
    if scope == "ALL":
        return "scope=ALL"
    if scope == "SYMBOL":
        return "scope=SYMBOL target=" + symbol
    return f"scope={scope} target={account.account_id}"


def _reduces(account: AccountState, symbol: str, is_buy: bool, added: int) -> bool:
    """Whether the position gets smaller, and stays on its side, when all orders on this side are filled."""
    position = account.positions.get(symbol)
    if position is None:
        return False
    if is_buy:
        return position.open_buys + added <= -position.quantity
    return position.offered() + added <= position.quantity
