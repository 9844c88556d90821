"""Margin accounts over time: calls, forced reductions, intraday deficits, freezes, pattern day traders.

Ordering: accounts in the order in which they became margin accounts.
Rules: an account whose equity is below maintenance is called once; the call is met when the equity is back, and comes
due three sessions later, when a reduction is proposed, the account may only reduce, and its open orders that do not reduce
are cancelled (reducing.py). At the end of a session an
account that traded and is below the initial requirement is called the same way (Regulation T). Under the intraday rule
the largest deficit after a fill that lowered the excess is the day's deficit; above the de minimis it is called at the
session's end, and it is cured as soon as the maintenance excess reaches its amount. Deposits count too: a call of the
initial requirement and an intraday deficit are met when their amount was paid in, even if prices have fallen meanwhile; a
maintenance call only when the equity is back. What a deposit leaves of them is reported. Deficits that come due uncured
freeze the account when they make a pattern. Nothing follows as long as a stock or future that is held has no price.
Invariants: every event is published once for each call, deficit or freeze; nothing is sold here, a reduction is
proposed; after it no open order enlarges a position.
Sources: margin_rules.py.
Known limits: prices are looked at once a minute of input time and after the account's fills and deposits.
Complexity: a look is linear in the margin accounts and their positions.
"""

from typing import Final

from schemas.messages.enums import (
    INTRADAY_RULE_LEGACY_DAY_TRADER,
    REASON_CODE_RISK_ACCOUNT_FROZEN,
    REASON_CODE_RISK_DAY_TRADING,
    REASON_CODE_RISK_INITIAL_MARGIN,
    REASON_CODE_RISK_INTRADAY_MARGIN,
    REASON_CODE_RISK_MINIMUM_EQUITY,
    RISK_EVENT_TYPE_ACCOUNT_FROZEN,
    RISK_EVENT_TYPE_DAY_TRADER,
    RISK_EVENT_TYPE_FORCED_REDUCTION,
    RISK_EVENT_TYPE_INTRADAY_DEFICIT,
    RISK_EVENT_TYPE_MARGIN_CALL,
    RISK_EVENT_TYPE_MARGIN_CALL_MET,
    RISK_EVENT_TYPE_MARGIN_CALL_PART_MET,
)
from udfs.domain.accounts import AccountBook
from udfs.domain.day_trading import begin_day, is_pattern, record_fill, window_counts
from udfs.domain.holdings import AccountState, Position
from udfs.domain.margin_check import Worth, cushion_of, margin_power, worth_of
from udfs.domain.margin_groups import Work, change_cost, group_of, group_reservation
from udfs.domain.margin_rules import call_terms, day_trader_terms, intraday_rule, intraday_terms
from udfs.domain.margin_state import (
    CALL_INITIAL,
    CALL_MAINTENANCE,
    CALL_NONE,
    UNKNOWN_E4,
    Deficit,
    KeptDeposit,
    MarginState,
)
from udfs.domain.money import money_text
from udfs.domain.reducing import beyond_reduction, withdrawal
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_notices import Notices

_KEPT_DAYS: Final = 8
_MAX_PROPOSED: Final = 12
_VALUATION: Final = "valuation"
_FILL: Final = "fill"


class _Release:
    """A position that can be closed, and what that gives back of the maintenance requirement."""

    __slots__ = ("position", "release_e4")

    def __init__(self, position: Position, release_e4: int) -> None:
        self.position = position
        self.release_e4 = release_e4


def _largest_first(release: _Release) -> int:
    return -release.release_e4


class MarginWatch:
    """Watches the margin accounts of one shard."""

    __slots__ = ("book", "notices", "reference", "shard")

    def __init__(self, shard: int, book: AccountBook, reference: ReferenceBook, notices: Notices) -> None:
        self.shard = shard
        self.book = book
        self.reference = reference
        self.notices = notices

    def worth(self, account: AccountState, time_ns: int) -> Worth:
        """What the account is worth and needs now."""
        return worth_of(account, self.reference.instruments, time_ns)

    def look(self, now_ns: int) -> None:
        """Look at all margin accounts."""
        for account in self.book.margin_accounts:
            margin = account.margin
            if margin is not None and not self._is_calm(account, margin, now_ns):
                self._check(account, margin, self.worth(account, now_ns), now_ns, _VALUATION)

    def upkeep_excess(self, account: AccountState, now_ns: int) -> int:
        """Equity above the maintenance requirement; where it is surely not below, at least that much of it."""
        floor = self._upkeep_floor(account, now_ns)
        return floor if floor >= 0 else self.worth(account, now_ns).maintenance_excess()

    def _upkeep_floor(self, account: AccountState, now_ns: int) -> int:
        """The least that the equity is above the maintenance requirement; -1 when that is not known."""
        cushion = cushion_of(account, now_ns)
        return -1 if cushion is None else cushion.upkeep_e4 + account.cash_e4

    def _is_calm(self, account: AccountState, margin: MarginState, now_ns: int) -> bool:
        """Whether there is nothing to follow, and maintenance is surely covered: then a look changes nothing."""
        return (
            margin.call_kind == CALL_NONE
            and not margin.deficits
            and margin.frozen_until_ns == 0
            and self._upkeep_floor(account, now_ns) >= 0
        )

    def rehold(self, account: AccountState, position: Position, now_ns: int) -> None:
        """An outcome has changed what a group of orders can still take: reserve that."""
        group = group_of(position.instrument)
        if not account.orders and group not in account.groups:
            return
        need = group_reservation(account, self.reference.instruments, group, None, None, now_ns)
        if need is not None:
            self.book.hold_group(account, group, need.initial_e4, need.maintenance_e4)

    def after_fill(
        self,
        account: AccountState,
        margin: MarginState,
        position: Position,
        held: int,
        is_first: bool,
        before_e4: int,
        now_ns: int,
    ) -> None:
        """A fill has changed a position from `held`, and the account's `upkeep_excess` from `before_e4`."""
        record_fill(margin, position, held, position.quantity - held, is_first)
        terms = day_trader_terms(now_ns)
        legacy = intraday_rule(margin.intraday_rule, now_ns) == INTRADAY_RULE_LEGACY_DAY_TRADER
        becomes_day_trader = terms is not None and legacy and not margin.day_trader and is_pattern(margin, terms)
        if not becomes_day_trader and self._is_calm(account, margin, now_ns):
            return
        worth = self.worth(account, now_ns)
        deficit = 0 if worth.unmarked else -worth.maintenance_excess()
        if -deficit < before_e4 and deficit > margin.intraday_deficit_e4:
            margin.intraday_deficit_e4 = deficit
        if terms is not None and becomes_day_trader:
            margin.day_trader = True
            day_trades, trades = window_counts(margin, terms)
            self._put(
                account,
                worth,
                RISK_EVENT_TYPE_DAY_TRADER,
                REASON_CODE_RISK_DAY_TRADING,
                f"day_trades={day_trades} trades={trades} sessions={terms.window_sessions} "
                f"minimum_equity={money_text(terms.minimum_equity_e4)}",
                terms.day_trades,
                day_trades,
                now_ns,
            )
        self._check(account, margin, worth, now_ns, _FILL)

    def after_cash(
        self, account: AccountState, margin: MarginState, amount_e4: int, control_id: str, now_ns: int
    ) -> None:
        """A control has brought money to the account (negative: taken it out)."""
        terms = day_trader_terms(now_ns)
        if margin.prior_equity_e4 != UNKNOWN_E4:
            # A day trader brings the minimum equity before trading on, and buys with what is there.
            margin.prior_equity_e4 += amount_e4
        if amount_e4 < 0:
            # What may be taken out leaves the account without a call.
            return
        legacy = intraday_rule(margin.intraday_rule, now_ns) == INTRADAY_RULE_LEGACY_DAY_TRADER
        if terms is not None and legacy and margin.day_trader:
            until_ns = self.reference.sessions.close_of_session(now_ns, terms.kept_sessions)
            margin.kept = [deposit for deposit in margin.kept if deposit.until_ns > now_ns]
            margin.kept.append(KeptDeposit(amount_e4, until_ns))
        if margin.call_kind == CALL_INITIAL:
            margin.call_e4 -= amount_e4
        left_e4 = amount_e4
        for deficit in margin.deficits:
            paid = min(left_e4, deficit.amount_e4 - deficit.paid_e4)
            deficit.paid_e4 += paid
            left_e4 -= paid
        worth = self.worth(account, now_ns)
        had_call = margin.call_kind != CALL_NONE
        self._check(account, margin, worth, now_ns, "deposit control=" + control_id)
        if had_call and margin.call_kind != CALL_NONE and not worth.unmarked:
            self._part_met(account, margin, worth, amount_e4, control_id, now_ns)
        if margin.deficits and not worth.unmarked:
            self._deficits_part_met(account, margin, worth, amount_e4, control_id, now_ns)

    def end_session(self, close_ns: int) -> None:
        """A session has closed: the day's deficits and the initial requirement are looked at."""
        for account in self.book.margin_accounts:
            margin = account.margin
            if margin is None:
                continue
            worth = self.worth(account, close_ns)
            margin.prior_equity_e4 = worth.equity_e4
            self._call_deficit(account, margin, worth, close_ns)
            self._check(account, margin, worth, close_ns, _VALUATION)
            below = worth.excess() < 0 and not worth.unmarked
            if margin.call_kind == CALL_NONE and margin.today.trades > 0 and below:
                self._call(account, margin, worth, CALL_INITIAL, close_ns)

    def begin_session(self) -> None:
        """A session begins: the counts of the day start again."""
        for account in self.book.margin_accounts:
            margin = account.margin
            if margin is not None:
                begin_day(margin, list(account.positions.values()), _KEPT_DAYS)
                margin.intraday_deficit_e4 = 0

    def _check(self, account: AccountState, margin: MarginState, worth: Worth, now_ns: int, cause: str) -> None:
        """Calls, deficits and the end of a freeze; `cause`: what has changed, for the events that say that a call is met."""
        if worth.unmarked:
            return
        shortfall = -worth.maintenance_excess()
        if margin.call_kind != CALL_MAINTENANCE and shortfall > 0:
            self._call(account, margin, worth, CALL_MAINTENANCE, now_ns)
        elif margin.call_kind != CALL_NONE:
            self._follow_call(account, margin, worth, now_ns, cause)
        if margin.deficits:
            self._follow_deficits(account, margin, worth, now_ns, cause)
        if 0 < margin.frozen_until_ns <= now_ns:
            margin.frozen_until_ns = 0

    def _call(self, account: AccountState, margin: MarginState, worth: Worth, kind: int, now_ns: int) -> None:
        """Make a margin call."""
        need = worth.maintenance_e4 if kind == CALL_MAINTENANCE else worth.initial_e4
        margin.call_kind = kind
        margin.call_e4 = need - worth.equity_e4
        margin.call_due_ns = self.reference.sessions.close_of_session(now_ns, call_terms(now_ns).due_sessions)
        margin.forced = False
        self._put(
            account,
            worth,
            RISK_EVENT_TYPE_MARGIN_CALL,
            _reason(kind),
            f"equity={money_text(worth.equity_e4)} required={money_text(need)} call={money_text(margin.call_e4)} "
            f"due_ns={margin.call_due_ns}",
            need,
            worth.equity_e4,
            now_ns,
        )

    def _follow_call(self, account: AccountState, margin: MarginState, worth: Worth, now_ns: int, cause: str) -> None:
        """A call is met, or comes due."""
        kind = margin.call_kind
        need = worth.maintenance_e4 if kind == CALL_MAINTENANCE else worth.initial_e4
        if worth.equity_e4 >= need or (kind == CALL_INITIAL and margin.call_e4 <= 0):
            detail = (
                f"equity={money_text(worth.equity_e4)} required={money_text(need)} "
                f"call={money_text(max(margin.call_e4, 0))} cause={cause}"
            )
            margin.call_kind = CALL_NONE
            margin.call_e4 = 0
            margin.call_due_ns = 0
            margin.forced = False
            margin.reduce_only = False
            account.refresh_guard()
            self._put(
                account, worth, RISK_EVENT_TYPE_MARGIN_CALL_MET, _reason(kind), detail, need, worth.equity_e4, now_ns
            )
        elif now_ns >= margin.call_due_ns and not margin.forced:
            margin.forced = True
            margin.reduce_only = True
            account.refresh_guard()
            shortfall = need - worth.equity_e4
            self._put(
                account,
                worth,
                RISK_EVENT_TYPE_FORCED_REDUCTION,
                _reason(kind),
                f"shortfall={money_text(shortfall)} proposal={self._proposal(account, shortfall, now_ns)}",
                need,
                worth.equity_e4,
                now_ns,
            )
            for order in beyond_reduction(account):
                frame = withdrawal(order, self.shard, account.notices, now_ns)
                self.notices.outbox.forward[order.position.instrument.shard].append(frame)

    def _proposal(self, account: AccountState, shortfall_e4: int, now_ns: int) -> str:
        """What to trade to cover a shortfall: SYMBOL:change, the position that gives back most first."""
        releases: list[_Release] = []
        for position in account.positions.values():
            quantity = position.quantity
            if quantity == 0:
                continue
            instrument = position.instrument
            is_buy = quantity < 0
            mark = instrument.short_mark() if is_buy else instrument.long_mark()
            work = Work(instrument, is_buy, abs(quantity), mark)
            cost = change_cost(account, self.reference.instruments, work, now_ns)
            if cost.maintenance_e4 < 0:
                releases.append(_Release(position, -cost.maintenance_e4))
        releases.sort(key=_largest_first)
        parts: list[str] = []
        for release in releases:
            if shortfall_e4 <= 0 or len(parts) == _MAX_PROPOSED:
                break
            position = release.position
            units = abs(position.quantity)
            wanted = min(units, -(-shortfall_e4 * units // release.release_e4))
            shortfall_e4 -= release.release_e4 * wanted // units
            parts.append(f"{position.symbol}:{wanted if position.quantity < 0 else -wanted}")
        return ",".join(parts) if parts else "none"

    def _call_deficit(self, account: AccountState, margin: MarginState, worth: Worth, close_ns: int) -> None:
        """Call the day's intraday deficit when it is not small."""
        amount = margin.intraday_deficit_e4
        margin.intraday_deficit_e4 = 0
        if amount == 0 or intraday_rule(margin.intraday_rule, close_ns) == INTRADAY_RULE_LEGACY_DAY_TRADER:
            return
        terms = intraday_terms(close_ns)
        small = min(max(worth.equity_e4, 0) * terms.small_share // 10_000, terms.small_e4)
        if amount <= small:
            return
        due_ns = self.reference.sessions.close_of_session(close_ns, terms.cure_sessions)
        margin.deficits.append(Deficit(amount, due_ns))
        self._put(
            account,
            worth,
            RISK_EVENT_TYPE_INTRADAY_DEFICIT,
            REASON_CODE_RISK_INTRADAY_MARGIN,
            f"deficit={money_text(amount)} de_minimis={money_text(small)} equity={money_text(worth.equity_e4)} "
            f"due_ns={due_ns}",
            small,
            amount,
            close_ns,
        )

    def _follow_deficits(
        self, account: AccountState, margin: MarginState, worth: Worth, now_ns: int, cause: str
    ) -> None:
        """Deficits are cured, or come due; a pattern of the latter freezes the account."""
        terms = intraday_terms(now_ns)
        excess = worth.maintenance_excess()
        left: list[Deficit] = []
        for deficit in margin.deficits:
            if excess >= deficit.amount_e4 or deficit.paid_e4 >= deficit.amount_e4:
                self._put(
                    account,
                    worth,
                    RISK_EVENT_TYPE_MARGIN_CALL_MET,
                    REASON_CODE_RISK_INTRADAY_MARGIN,
                    f"deficit={money_text(deficit.amount_e4)} maintenance_excess={money_text(excess)} "
                    f"paid={money_text(deficit.paid_e4)} cause={cause}",
                    deficit.amount_e4,
                    excess,
                    now_ns,
                )
            elif now_ns >= deficit.due_ns:
                margin.uncured.append(now_ns)
            else:
                left.append(deficit)
        margin.deficits = left
        margin.uncured = [at_ns for at_ns in margin.uncured if at_ns + terms.pattern_ns > now_ns]
        if len(margin.uncured) < terms.pattern:
            return
        uncured = len(margin.uncured)
        margin.uncured = []
        margin.frozen_until_ns = now_ns + terms.freeze_ns
        account.refresh_guard()
        self._put(
            account,
            worth,
            RISK_EVENT_TYPE_ACCOUNT_FROZEN,
            REASON_CODE_RISK_ACCOUNT_FROZEN,
            f"uncured_deficits={uncured} frozen_until_ns={margin.frozen_until_ns}",
            terms.pattern,
            uncured,
            now_ns,
        )

    def _part_met(
        self, account: AccountState, margin: MarginState, worth: Worth, amount_e4: int, control_id: str, now_ns: int
    ) -> None:
        """Say what a deposit has left of the open call."""
        kind = margin.call_kind
        need = worth.maintenance_e4 if kind == CALL_MAINTENANCE else worth.initial_e4
        shortfall = need - worth.equity_e4
        left = shortfall if kind == CALL_MAINTENANCE else min(margin.call_e4, shortfall)
        self._put(
            account,
            worth,
            RISK_EVENT_TYPE_MARGIN_CALL_PART_MET,
            _reason(kind),
            f"deposit={money_text(amount_e4)} left={money_text(left)} equity={money_text(worth.equity_e4)} "
            f"required={money_text(need)} due_ns={margin.call_due_ns} control={control_id}",
            need,
            worth.equity_e4,
            now_ns,
        )

    def _deficits_part_met(
        self, account: AccountState, margin: MarginState, worth: Worth, amount_e4: int, control_id: str, now_ns: int
    ) -> None:
        """Say what a deposit has left of the open intraday deficits."""
        excess = worth.maintenance_excess()
        for deficit in margin.deficits:
            left = deficit.amount_e4 - max(deficit.paid_e4, excess)
            self._put(
                account,
                worth,
                RISK_EVENT_TYPE_MARGIN_CALL_PART_MET,
                REASON_CODE_RISK_INTRADAY_MARGIN,
                f"deposit={money_text(amount_e4)} left={money_text(left)} deficit={money_text(deficit.amount_e4)} "
                f"paid={money_text(deficit.paid_e4)} maintenance_excess={money_text(excess)} due_ns={deficit.due_ns} "
                f"control={control_id}",
                deficit.amount_e4,
                left,
                now_ns,
            )

    def _put(
        self,
        account: AccountState,
        worth: Worth,
        event_type: int,
        reason: int,
        detail: str,
        limit: int,
        observed: int,
        now_ns: int,
    ) -> None:
        """Publish an event about margin."""
        power = margin_power(account, worth, now_ns)
        self.notices.put(account, event_type, None, reason, detail, limit, observed, power, now_ns)


def _reason(kind: int) -> int:
    """Maintenance calls are about the equity that is to be kept, calls after trades about the initial margin."""
    return REASON_CODE_RISK_MINIMUM_EQUITY if kind == CALL_MAINTENANCE else REASON_CODE_RISK_INITIAL_MARGIN
