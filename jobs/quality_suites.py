"""Runs rules as Great Expectations suites on ClickHouse and writes their Data Docs.

A suite has the name of its table, and its expectations run in ClickHouse: what comes back are counts and a few examples. Memory
does not grow with the tables. Great Expectations is imported here and nowhere else, because that takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.data_context.types.base import ProgressBarsConfig

from jobs.quality_rules import Rule
from udfs.operators.clickhouse_client import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Endpoint

EXAMPLES: Final = 5
_SITE: Final = "tradestream"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule. `broken`: rows that break it, None when it could not be tried, which `problem` explains."""

    table: str
    rule: Rule
    broken: int | None
    examples: tuple[str, ...] = ()
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether it was tried and nothing breaks it."""
        return self.broken == 0


def validate(
    address: Endpoint, suites: Mapping[str, Sequence[Rule]], docs: Path, day: date | None = None
) -> list[Verdict]:
    """Try the rules of each table (table -> rules) and write Data Docs to the folder `docs`; its first page is index.html.

    day: only the rows of that event_date. Raises ClickHouseError and what SQLAlchemy raises when the server does not answer.
    """
    # It logs a warning for each of its own deprecated parts.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    # The site that an ephemeral context has by itself is a folder for temporary files.
    for name in context.get_site_names():
        context.delete_data_docs_site(name)
    context.add_data_docs_site(_SITE, _site(docs))
    source = context.data_sources.add_sql("clickhouse", connection_string=connection(address), create_temp_table=False)
    definitions, rules = [], {}
    for table, of_table in suites.items():
        if day is None:
            asset = source.add_table_asset(table, table_name=table)
            batch = asset.add_batch_definition_whole_table(table)
        else:
            query = f"SELECT * FROM `{table}` WHERE event_date = '{day}'"
            batch = source.add_query_asset(table, query=query).add_batch_definition_whole_table(table)
        rules.update({(table, number): rule for number, rule in enumerate(of_table)})
        # All at once: a suite that is known already is stored anew with each expectation that it gets.
        expectations = [_expectation(rule, number) for number, rule in enumerate(of_table)]
        suite = context.suites.add(gx.ExpectationSuite(table, expectations=expectations))
        definitions.append(
            context.validation_definitions.add(gx.ValidationDefinition(name=table, data=batch, suite=suite))
        )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="quality",
            validation_definitions=definitions,
            result_format="SUMMARY",
        )
    )
    run = checkpoint.run()
    # At the end and not as the checkpoint's action, which makes the pages of all tables so far anew for each table.
    context.build_data_docs(site_names=[_SITE])
    client = address.connect()
    verdicts = []
    for result in run.run_results.values():
        table = result.suite_name
        for item in result.results:
            rule = rules[table, item.expectation_config.meta["number"]]
            verdicts.append(_verdict(client, table, rule, item, day))
    return verdicts


def connection(address: Endpoint) -> str:
    """SQLAlchemy's address of a ClickHouse endpoint, in clickhouse-connect's dialect; it holds the password."""
    parts = urlsplit(address.url)
    secure = parts.scheme == "https"
    options = {
        "secure": str(secure).lower(),
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "send_receive_timeout": str(ANSWER_TIMEOUT_S),
        "autogenerate_session_id": "false",
    }
    if parts.path.strip("/"):
        options["proxy_path"] = parts.path.strip("/")
    user = f"{quote(address.username, safe='')}:{quote(address.password, safe='')}"
    host = f"{parts.hostname}:{parts.port or (8443 if secure else 8123)}"
    return f"clickhousedb://{user}@{host}/{quote(address.database, safe='')}?{urlencode(options)}"


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "show_how_to_buttons": False,
    }


def _expectation(rule: Rule, number: int) -> Any:
    common: dict[str, Any] = {
        "description": f"{rule.kind}: {rule.text}",
        "meta": {"number": number, "kind": rule.kind},
    }
    match rule.test:
        case "columns":
            return gxe.ExpectTableColumnsToMatchSet(column_set=list(rule.values), exact_match=True, **common)
        case "unique":
            return gxe.ExpectColumnValuesToBeUnique(column=rule.column, **common)
        case "in_set":
            return gxe.ExpectColumnValuesToBeInSet(column=rule.column, value_set=list(rule.values), **common)
        case "positive":
            return gxe.ExpectColumnValuesToBeBetween(column=rule.column, min_value=0, strict_min=True, **common)
        case "not_negative":
            return gxe.ExpectColumnValuesToBeBetween(column=rule.column, min_value=0, **common)
        case "not_empty":
            return gxe.ExpectColumnValueLengthsToBeBetween(column=rule.column, min_value=1, **common)
        case "no_rows":
            return gxe.UnexpectedRowsExpectation(unexpected_rows_query=rule.sql, **common)


def _verdict(client: Any, table: str, rule: Rule, item: Any, day: date | None) -> Verdict:
    problems = list(_exceptions(item.exception_info))
    if problems:
        return Verdict(table, rule, None, problem="; ".join(problems))
    if item.success:
        return Verdict(table, rule, 0)
    found = item.result
    if rule.test == "columns":
        details = found["details"]["mismatched"]
        return Verdict(table, rule, 1, tuple(f"{key}: {', '.join(names)}" for key, names in details.items()))
    if rule.test != "no_rows":
        values = tuple(str(value) for value in found["partial_unexpected_list"][:EXAMPLES])
        return Verdict(table, rule, int(found["unexpected_count"]), values)
    batch = f"`{table}`" if day is None else f"(SELECT * FROM `{table}` WHERE event_date = '{day}')"
    rows = client.query(f"SELECT * FROM ({rule.sql.format(batch=batch)}) LIMIT {EXAMPLES}")
    examples = tuple(
        " ".join(f"{name}={value}" for name, value in zip(rows.column_names, row, strict=True))
        for row in rows.result_rows
    )
    return Verdict(table, rule, int(found["observed_value"]), examples)


def _exceptions(info: Mapping[str, Any]) -> Iterator[str]:
    """Messages of what went wrong while an expectation was tried; one entry, or one for each metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if entry.get("raised_exception"):
            yield str(entry.get("exception_message") or "unknown error").split("\n")[0]
