"""The offline rules of compatibility: a golden table, held against what fastavro can in fact read."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.compatibility import check_topic, incompatibilities, main

ENUM = {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE", "UNKNOWN"], "default": "UNKNOWN"}
MORE = {**ENUM, "symbols": ["RED", "BLUE", "UNKNOWN", "GREEN"]}
LESS = {**ENUM, "symbols": ["RED", "UNKNOWN"]}


def record(*fields: tuple[Any, ...]) -> dict[str, Any]:
    parsed = []
    for name, kind, *rest in fields:
        parsed.append({"name": name, "type": copy.deepcopy(kind), **(rest[0] if rest else {})})
    return {"type": "record", "name": "R", "fields": parsed}


OPTIONAL = ["null", "long"]
NULL = {"default": None}
BASE = record(("a", "long"))

# name: (writer, reader, a value of the writer, the problem or "" when it can be read)
TABLE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "same": (BASE, BASE, {"a": 1}, ""),
    "optional field added": (BASE, record(("a", "long"), ("b", OPTIONAL, NULL)), {"a": 1}, ""),
    "field with default added": (BASE, record(("a", "long"), ("b", "string", {"default": "x"})), {"a": 1}, ""),
    "field without default added": (
        BASE,
        record(("a", "long"), ("b", "long")),
        {"a": 1},
        "R.b: new and without a default",
    ),
    "field removed": (record(("a", "long"), ("b", "long")), BASE, {"a": 1, "b": 2}, ""),
    "fields reordered": (
        record(("a", "long"), ("b", "string")),
        record(("b", "string"), ("a", "long")),
        {"a": 1, "b": "x"},
        "",
    ),
    "field renamed": (BASE, record(("b", "long")), {"a": 1}, "R.b: new and without a default"),
    "field renamed with alias": (BASE, record(("b", "long", {"aliases": ["a"]})), {"a": 1}, ""),
    "int to long": (record(("a", "int")), BASE, {"a": 1}, ""),
    "long to int": (BASE, record(("a", "int")), {"a": 1}, "R.a: long was written, int is read"),
    "long to string": (BASE, record(("a", "string")), {"a": 1}, "R.a: long was written, string is read"),
    "long to double": (BASE, record(("a", "double")), {"a": 1}, ""),
    "made optional": (BASE, record(("a", OPTIONAL, NULL)), {"a": 1}, ""),
    "made required": (record(("a", OPTIONAL, NULL)), BASE, {"a": None}, "R.a: null was written, long is read"),
    "optional of another type": (
        BASE,
        record(("a", ["null", "string"], NULL)),
        {"a": 1},
        "R.a: no branch of [null, string] reads long",
    ),
    "symbol added": (record(("a", ENUM)), record(("a", MORE)), {"a": "RED"}, ""),
    "array to scalar": (
        record(("a", {"type": "array", "items": "long"})),
        BASE,
        {"a": [1]},
        "R.a: array was written, long is read",
    ),
    "array items changed": (
        record(("a", {"type": "array", "items": "long"})),
        record(("a", {"type": "array", "items": "string"})),
        {"a": [1]},
        "R.a[]: long was written, string is read",
    ),
    "another enum": (
        record(("a", ENUM)),
        record(("a", {**ENUM, "name": "Colour"})),
        {"a": "RED"},
        "R.a: enum Color was written, Colour is read",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_change_is_judged_as_fastavro_reads_it(name: str) -> None:
    writer, reader, value, problem = TABLE[name]
    assert incompatibilities(reader, writer) == ([problem] if problem else [])
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(writer)), value)
    out.seek(0)
    parsed = fastavro.parse_schema(copy.deepcopy(reader)), fastavro.parse_schema(copy.deepcopy(writer))
    if problem:
        with pytest.raises(Exception, match=r".+"):
            fastavro.schemaless_reader(out, parsed[1], parsed[0])
    else:
        fastavro.schemaless_reader(out, parsed[1], parsed[0])


def test_removed_symbol_is_refused_although_avro_has_a_default_for_it() -> None:
    assert incompatibilities(record(("a", LESS)), record(("a", ENUM))) == ["R.a: symbols BLUE were removed"]


def test_nested_problem_names_its_place() -> None:
    inner = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "long"}]}
    wider = {"type": "record", "name": "I", "fields": [*inner["fields"], {"name": "y", "type": "long"}]}
    found = incompatibilities(
        record(("a", {"type": "array", "items": wider})), record(("a", {"type": "array", "items": inner}))
    )
    assert found == ["R.a[].y: new and without a default"]


def write(path: Path, schema: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema), encoding="utf-8")


def test_check_is_transitive_over_all_released_versions(tmp_path: Path) -> None:
    history = tmp_path / "history"
    write(history / "t" / "001.avsc", BASE)
    write(history / "t" / "002.avsc", record(("a", "long"), ("b", OPTIONAL, NULL)))
    # Readable from version 2, not from version 1: a field that became required.
    write(tmp_path / "t.avsc", record(("a", "long"), ("b", OPTIONAL)))
    assert check_topic("t", tmp_path, history) == [
        "t: version 1 cannot be read any more: R.b: new and without a default"
    ]
    assert main(["--release"], tmp_path, history) == 1


def test_release_keeps_each_changed_schema_as_its_next_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "history"
    write(tmp_path / "t.avsc", BASE)
    assert main(["--release"], tmp_path, history) == 0
    assert main(["--release"], tmp_path, history) == 0
    write(tmp_path / "t.avsc", record(("a", "long"), ("b", OPTIONAL, NULL)))
    assert main([], tmp_path, history) == 0
    assert "t has an unreleased change after version 1" in capsys.readouterr().out
    assert main(["--release"], tmp_path, history) == 0
    assert sorted(path.name for path in (history / "t").iterdir()) == ["001.avsc", "002.avsc"]
