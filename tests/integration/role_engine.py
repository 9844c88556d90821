"""Runs statements on a ClickHouse engine whose user has some grants: a process of its own, since an engine is one process.

Reads a JSON object from standard input (folder, grants, filters: table -> row policy, statements) and writes a list: of each
statement its rows as text, or its error code as a number.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

CONFIG = "<clickhouse><users_config>{users}</users_config></clickhouse>"
USERS = """<clickhouse>
  <profiles><default><mutations_sync>1</mutations_sync></default></profiles><quotas><default></default></quotas>
  <users><default>
    <password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants>{grants}</grants><databases><tradestream>{filters}</tradestream></databases>
  </default></users>
</clickhouse>
"""


def main() -> None:
    """Run what is asked for."""
    asked = json.load(sys.stdin)
    folder = Path(asked["folder"])
    folder.mkdir(exist_ok=True)
    grants = "".join(f"<query>{escape(grant)}</query>" for grant in asked["grants"])
    filters = "".join(f"<{name}><filter>{escape(rule)}</filter></{name}>" for name, rule in asked["filters"].items())
    users, config = folder.with_suffix(".users.xml"), folder.with_suffix(".config.xml")
    users.write_text(USERS.format(grants=grants, filters=filters), encoding="utf-8")
    config.write_text(CONFIG.format(users=users), encoding="utf-8")
    connection = importlib.import_module("chdb._chdb").connect(f"{folder}?config-file={config}")
    answers: list[str | int] = []
    for statement in asked["statements"]:
        try:
            result = connection.query(statement, "TSV")
            answers.append(result.bytes().decode())
        except RuntimeError as error:
            found = re.search(r"Code: (\d+)", str(error))
            assert found, str(error)
            answers.append(int(found[1]))
            print(f"{statement}: {error}", file=sys.stderr)
    connection.close()
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
