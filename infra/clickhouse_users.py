"""Users of the ClickHouse gateway: a TOML file of names, roles and passwords (files or SHA-256 digests).

    [[user]]
    name = "analyst"
    role = "readonly"                 # admin | writer | readonly
    password_file = "analyst.secret"  # relative to this file; or password_sha256 = "<64 hex digits>"; or no_password = true
    tables = ["tradestream.controls"]  # optional, for readonly: it reads these, and nothing else

Roles: `admin` may run everything that the gateway allows at all; `writer` reads and inserts but changes no table;
`readonly` reads within limits (clickhouse_policy), and may keep temporary tables in its session. Without a file there is one
user, `default`, an admin without a password, which the gateway offers on loopback only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from infra.clickhouse_errors import GatewayError

_FIELDS = {"name", "role", "password_file", "password_sha256", "no_password", "tables"}
_TABLE = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", re.ASCII)


class Role(Enum):
    """What a user may do; see the module's description."""

    ADMIN = "admin"
    WRITER = "writer"
    READONLY = "readonly"


class UsersFileError(ValueError):
    """The users file cannot be used; the text says which entry and why."""


@dataclass(frozen=True, slots=True)
class User:
    """One user; `digest` is the SHA-256 of the password, or None when the user has no password.

    tables: all that it may read, as database.table; None for everything.
    """

    name: str
    role: Role
    digest: bytes | None
    tables: tuple[str, ...] | None = None


class Users:
    """The users that may log in."""

    def __init__(self, users: list[User]) -> None:
        self._by_name = {user.name: user for user in users}
        self.has_open_user = any(user.digest is None for user in users)
        self.limited = {user.name: user.tables for user in users if user.tables is not None}
        """The tables of each user that may not read all of them."""

    def authenticate(self, name: str, password: str, *, given: bool) -> User:
        """Return the user, or raise AUTHENTICATION_FAILED (401 when no credentials were `given`, otherwise 403)."""
        user = self._by_name.get(name)
        digest = hashlib.sha256(password.encode("utf-8", "surrogateescape")).digest()
        # An unknown name costs the same comparison as a known one, so that names cannot be found by timing.
        expected = user.digest if user is not None and user.digest is not None else bytes(32)
        matches = hmac.compare_digest(digest, expected)
        if user is not None and (matches or (user.digest is None and password == "")):
            return user
        raise GatewayError(
            516,
            f"{name}: Authentication failed: password is incorrect, or there is no user with such name",
            status=403 if given else 401,
        )


def default_users() -> Users:
    """One admin called `default`, without a password."""
    return Users([User("default", Role.ADMIN, None)])


def load_users(path: Path) -> Users:
    """Read the users file. Raises UsersFileError with the entry at fault."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsersFileError(f"cannot read the users file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsersFileError(f"{path} is not valid TOML: {error}") from error
    entries = document.get("user")
    if not isinstance(entries, list) or not entries:
        raise UsersFileError(f"{path} has no [[user]] entry; at least one user is needed")
    users: list[User] = []
    for position, entry in enumerate(entries, 1):
        user = _user(path, f"{path}, user {position}", entry)
        if any(other.name == user.name for other in users):
            raise UsersFileError(f"{path}: user {user.name!r} is there twice")
        users.append(user)
    return Users(users)


def _user(path: Path, where: str, entry: object) -> User:
    if not isinstance(entry, dict):
        raise UsersFileError(f"{where}: expected a table")
    if unknown := sorted(set(entry) - _FIELDS):
        raise UsersFileError(f"{where}: unknown field {', '.join(unknown)}; known: {', '.join(sorted(_FIELDS))}")
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise UsersFileError(f"{where}: name is missing")
    try:
        role = Role(entry.get("role"))
    except ValueError:
        raise UsersFileError(f"{where} ({name}): role must be one of {', '.join(r.value for r in Role)}") from None
    tables = _tables(where, name, role, entry.get("tables"))
    given = [field for field in ("password_file", "password_sha256", "no_password") if entry.get(field)]
    if len(given) != 1:
        raise UsersFileError(
            f"{where} ({name}): give exactly one of password_file, password_sha256, no_password = true"
        )
    value = entry[given[0]]
    if given[0] == "no_password":
        return User(name, role, None, tables)
    if not isinstance(value, str):
        raise UsersFileError(f"{where} ({name}): {given[0]} must be a string")
    if given[0] == "password_sha256":
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise UsersFileError(f"{where} ({name}): password_sha256 must be 64 hex digits")
        return User(name, role, bytes.fromhex(value), tables)
    try:
        password = (path.parent / value).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsersFileError(f"{where} ({name}): cannot read password_file {value}: {error.strerror}") from error
    if not password:
        raise UsersFileError(f"{where} ({name}): password_file {value} is empty")
    return User(name, role, hashlib.sha256(password.encode()).digest(), tables)


def _tables(where: str, name: str, role: Role, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if role is not Role.READONLY:
        raise UsersFileError(f"{where} ({name}): only a readonly user can be limited to tables")
    if not isinstance(value, list) or not value:
        raise UsersFileError(f"{where} ({name}): tables must be a list of database.table")
    for table in value:
        if not isinstance(table, str) or not _TABLE.fullmatch(table):
            raise UsersFileError(f"{where} ({name}): {table!r} is not database.table")
    return tuple(value)
