"""Who may run what. Independent lines of defence, each tested by attacks:

1. The engine runs without any grant on external sources (files, URLs, other databases), for every role: see
   `clickhouse_engine`. A `readonly` user's connection is opened with the engine's own `readonly = 2`, which no
   statement and no SETTINGS clause can lower.
2. The engine's parser classifies every statement before it runs (`classify`): one statement only, and for a role
   below admin only what reads, sets or inserts.
3. A `readonly` user has limits (READER_LIMITS), and may be limited to some tables by grants of the engine; what would lift
   either, in a statement or beside it, is refused by name.
4. What an embedded engine would allow and a server would not (writing files, reading them with the scalar function
   file(), Python objects, table engines over files and URLs, shutting the engine down) is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from infra.clickhouse_errors import GatewayError
from infra.clickhouse_sql import Statement, names
from infra.clickhouse_users import Role

# Table functions that neither leave the engine nor read the machine. Everything else that the engine lists is refused,
# so that a function which a later engine adds is refused until somebody has looked at it.
SAFE_TABLE_FUNCTIONS = names(
    "dictionary format fuzzjson fuzzquery generate_series generaterandom generateseries input loop merge "
    "mergetreeanalyzeindexes mergetreeanalyzeindexesuuid mergetreecodecblockcounts mergetreeindex "
    "mergetreeprojection mergetreetextindex null numbers numbers_mt primes sqlstandardvalues values view "
    "viewexplain viewifpermitted zeros zeros_mt"
)
# Ordinary functions that read files, load models or call services.
UNSAFE_FUNCTIONS = frozenset({"file", "catboostevaluate", "modelevaluate", "generatesql"})
SAFE_ENGINES = names(
    "aggregatingmergetree alias atomic buffer coalescingmergetree collapsingmergetree dictionary embeddedrocksdb "
    "generaterandom graphitemergetree join lazy log materializedview memory merge mergetree null ordinary "
    "replacingmergetree set stripelog summingmergetree tinylog versionedcollapsingmergetree view windowview"
)
SAFE_DICTIONARY_SOURCES = frozenset({"clickhouse", "null"})
READER_LIMITS: Final = {"max_execution_time": 60, "max_memory_usage": 4_000_000_000}
"""What a query of a readonly user may take: seconds, bytes of memory."""
_LIFTS_LIMITS: Final = frozenset({*READER_LIMITS, "profile"})
_VIOLATION: Final = "SETTING_CONSTRAINT_VIOLATION"
READS = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "VALUES"})
_STOPS_THE_ENGINE = frozenset({"SHUTDOWN", "KILL", "SUSPEND"})


@dataclass(frozen=True, slots=True)
class Kind:
    """The engine's verdict on a statement: its class (READ_ONLY, MUTATING, ...) and how many statements it holds."""

    name: str
    statements: int


class Policy:
    """The rules, with the names of the table functions that this engine has and that are refused."""

    def __init__(self, table_functions: set[str], functions: set[str]) -> None:
        refused = {name.lower() for name in table_functions} - SAFE_TABLE_FUNCTIONS
        services = {name.lower() for name in functions if name[:2].lower() == "ai" and name[2:3].isupper()}
        self._refused = frozenset(refused | services | UNSAFE_FUNCTIONS)

    def check(self, statement: Statement, kind: Kind, role: Role, *, is_get: bool) -> None:
        """Raise GatewayError when this statement may not run for this role; otherwise return."""
        if kind.statements > 1:
            raise GatewayError(62, "Syntax error (Multi-statements are not allowed): send one statement a request")
        self._check_machine(statement, kind)
        if role is not Role.ADMIN:
            self._check_limits(statement, role)
        if is_get and not self._reads(statement, kind):
            raise GatewayError(
                164,
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
                "You should use method POST for modifying queries",
            )
        if role is not Role.ADMIN and not self._reads(statement, kind) and not self._inserts(statement, kind):
            raise GatewayError(
                164, f"Cannot execute query in readonly mode: the role {role.value} may not run {statement.lead}"
            )

    @staticmethod
    def _check_limits(statement: Statement, role: Role) -> None:
        if statement.words(2) in (("SET", "ROLE"), ("SET", "DEFAULT")):
            raise GatewayError(497, "Not enough privileges: the roles of a connection are those of its user")
        words = statement.tokens
        for token, following in pairwise(words):
            if role is Role.READONLY and following.text == "=" and token.identifier in _LIFTS_LIMITS:
                raise GatewayError(
                    452, f"Setting {token.identifier} is fixed in statements of a readonly user", name=_VIOLATION
                )

    @staticmethod
    def _reads(statement: Statement, kind: Kind) -> bool:
        if kind.name == "READ_ONLY":
            return statement.lead in READS
        words = statement.words(5)
        if words[:1] in (("SET",), ("USE",)):
            return True
        temporary = words[1:2] == ("TEMPORARY",) or words[1:4] == ("OR", "REPLACE", "TEMPORARY")
        return words[:1] in (("CREATE",), ("DROP",)) and temporary and "TABLE" in words

    @staticmethod
    def _inserts(statement: Statement, kind: Kind) -> bool:
        # A readonly user comes through here too: the engine then lets the insert pass into temporary tables only.
        return kind.name == "MUTATING" and statement.lead == "INSERT"

    def _check_machine(self, statement: Statement, kind: Kind) -> None:
        words = statement.tokens
        if kind.name not in ("READ_ONLY", "UNKNOWN") and statement.lead in READS:
            raise GatewayError(358, "INTO OUTFILE is not allowed over HTTP: the result is the response")
        if statement.lead == "SYSTEM" and any(token.is_word(*_STOPS_THE_ENGINE) for token in words[1:3]):
            raise GatewayError(497, "SYSTEM SHUTDOWN and its kind are not allowed: stop the gateway's process instead")
        defines = statement.lead in ("CREATE", "ATTACH", "REPLACE", "ALTER")
        for index, token in enumerate(words):
            following = words[index + 1] if index + 1 < len(words) else None
            if token.kind == "quoted" and "\\" in token.text:
                raise GatewayError(
                    497, f"The identifier {token.text} has an escape sequence, which is not allowed here"
                )
            if following is None:
                continue
            if token.is_word("INTO") and following.is_word("OUTFILE"):
                raise GatewayError(358, "INTO OUTFILE is not allowed over HTTP: the result is the response")
            if token.is_word("FROM") and following.is_word("INFILE"):
                raise GatewayError(497, "FROM INFILE is not allowed over HTTP: send the data in the request")
            if following.text == "(" and token.identifier in self._refused:
                raise GatewayError(497, f"Not enough privileges: {token.text}() reaches outside the database")
            if defines and token.is_word("ENGINE"):
                named = words[index + 2] if following.text == "=" and index + 2 < len(words) else following
                if named.identifier and named.identifier not in SAFE_ENGINES:
                    raise GatewayError(497, f"Not enough privileges: the engine {named.text} is not allowed")
            if defines and token.is_word("SOURCE") and following.text == "(" and index + 2 < len(words):
                source = words[index + 2]
                if source.identifier not in SAFE_DICTIONARY_SOURCES:
                    raise GatewayError(
                        497, f"Not enough privileges: the dictionary source {source.text} is not allowed"
                    )


def check_settings(settings: Mapping[str, str], role: Role) -> None:
    """Raise GatewayError when settings beside a statement would lift a limit of this role; lower ones are fine."""
    if role is not Role.READONLY:
        return
    for name in _LIFTS_LIMITS & settings.keys():
        value = settings[name]
        if not value.isdecimal() or not 0 < int(value) <= READER_LIMITS.get(name, 0):
            raise GatewayError(452, f"Setting {name} can only be lowered by a readonly user", name=_VIOLATION)
