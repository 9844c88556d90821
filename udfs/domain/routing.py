"""Where the next part of an order goes: our own book, another exchange, or nowhere.

Ordering: pure functions of the book and the street at this moment.
Invariants: our own book is chosen only at a price at least as good as the best price that another exchange still
displays (no trade through a protected quote, Rule 611 of Regulation NMS); nothing beyond the order's worst price is
ever chosen.
A quote whose displayed size we have already taken does not protect any more: we have sent orders against all of it, as
the rule's exception for intermarket sweeps asks.
Among exchanges that display the best price the one with the larger size is taken, then the one with the lower fee
(street.Street.find_best). Known limit: all exchanges count as protected.
Complexity: constant.
"""

from typing import Final

NOWHERE: Final = 0
INSIDE: Final = 1
AWAY: Final = 2


def choose(is_buy: bool, worst_price: int, inside_price: int, street_price: int) -> int:
    """Choose for an order that may go to `worst_price`, given the best opposite prices here and away (0: none)."""
    if is_buy:
        if inside_price > 0 and inside_price <= worst_price and (street_price == 0 or inside_price <= street_price):
            return INSIDE
        if street_price > 0 and street_price <= worst_price:
            return AWAY
        return NOWHERE
    if inside_price > 0 and inside_price >= worst_price and (street_price == 0 or inside_price >= street_price):
        return INSIDE
    if street_price > 0 and street_price >= worst_price:
        return AWAY
    return NOWHERE
