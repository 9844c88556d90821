"""Which changes of a schema are allowed, checked without a registry.

    python -m schemas.compatibility             check every topic against all its released versions
    python -m schemas.compatibility --release   and keep each changed schema as its next version

BACKWARD_TRANSITIVE: the new schema must read what every released one wrote, because topics are kept for up to a year
and are replayed. Released versions lie in avro/history/<topic>/NNN.avsc and are never changed; the last of them is the
current schema, and a test says so. Rules: Avro specification 1.11, "Schema Resolution".
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
AVRO: Final = HERE / "avro"
HISTORY: Final = AVRO / "history"
PROMOTIONS: Final = {
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
}

Schema = Any
"""A schema as JSON has it: a name, a list (union) or a dictionary."""


def incompatibilities(reader: Schema, writer: Schema) -> list[str]:
    """Return why data of `writer` cannot be read with `reader`, one line for each reason; empty when it can."""
    return _Comparison(_names(reader), _names(writer)).compare(reader, writer, "")


def released(topic: str, history: Path = HISTORY) -> list[tuple[int, Schema]]:
    """Return (version, schema) of every released version of a topic, oldest first."""
    return [(int(path.stem), json.loads(path.read_text("utf-8"))) for path in sorted((history / topic).glob("*.avsc"))]


def check_topic(topic: str, avro: Path = AVRO, history: Path = HISTORY) -> list[str]:
    """Return why the current schema of a topic cannot read what one of its released versions wrote."""
    current = json.loads((avro / f"{topic}.avsc").read_text("utf-8"))
    return [
        f"{topic}: version {version} cannot be read any more: {problem}"
        for version, schema in released(topic, history)
        for problem in incompatibilities(current, schema)
    ]


def main(arguments: list[str] | None = None, avro: Path = AVRO, history: Path = HISTORY) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m schemas.compatibility", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--release", action="store_true", help="keep each changed schema as its next version")
    release = parser.parse_args(arguments).release
    topics = sorted(path.stem for path in avro.glob("*.avsc"))
    problems = [problem for topic in topics for problem in check_topic(topic, avro, history)]
    for problem in problems:
        print(f"compatibility: {problem}", file=sys.stderr)
    if problems:
        return 1
    for topic in topics:
        versions = released(topic, history)
        text = (avro / f"{topic}.avsc").read_text("utf-8")
        if versions and versions[-1][1] == json.loads(text):
            continue
        number = versions[-1][0] + 1 if versions else 1
        print(f"compatibility: {topic} {'is now' if release else 'has an unreleased change after'} version ", end="")
        print(number if release else number - 1)
        if release:
            (history / topic).mkdir(parents=True, exist_ok=True)
            (history / topic / f"{number:03d}.avsc").write_text(text, encoding="utf-8")
    return 0


def _names(schema: Schema) -> dict[str, dict[str, Any]]:
    """Return the named types that a schema declares."""
    found: dict[str, dict[str, Any]] = {}
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
        elif isinstance(node, dict):
            if "name" in node and node["type"] in ("record", "enum", "fixed"):
                found[node["name"]] = node
                found[f"{node.get('namespace', '')}.{node['name']}"] = node
            stack += [field["type"] for field in node.get("fields", ())]
            stack += [node[key] for key in ("items", "values") if key in node]
    return found


class _Comparison:
    def __init__(self, readers: dict[str, dict[str, Any]], writers: dict[str, dict[str, Any]]) -> None:
        self.readers = readers
        self.writers = writers
        self.open: set[tuple[str, str]] = set()

    def compare(self, reader: Schema, writer: Schema, path: str) -> list[str]:
        """Return the problems below `path`."""
        reader, writer = _resolved(reader, self.readers), _resolved(writer, self.writers)
        if isinstance(writer, list):
            return [problem for branch in writer for problem in self.compare(reader, branch, path)]
        if isinstance(reader, list):
            if any(not self.compare(branch, writer, path) for branch in reader):
                return []
            return [f"{path or 'the schema'}: no branch of {_shown(reader)} reads {_shown(writer)}"]
        wanted, found = _kind(reader), _kind(writer)
        if wanted != found:
            if wanted in PROMOTIONS.get(found, ()):
                return []
            return [f"{path or 'the schema'}: {_shown(writer)} was written, {_shown(reader)} is read"]
        if wanted == "record":
            return self.records(reader, writer, path)
        if wanted == "enum":
            return self.enums(reader, writer, path)
        if wanted in ("array", "map"):
            key = "items" if wanted == "array" else "values"
            return self.compare(reader[key], writer[key], f"{path}[]")
        if wanted == "fixed" and (reader["name"], reader["size"]) != (writer["name"], writer["size"]):
            return [f"{path}: fixed {writer['name']} has another name or size"]
        return []

    def records(self, reader: dict[str, Any], writer: dict[str, Any], path: str) -> list[str]:
        """Compare two records: every field that is read was written or has a default."""
        if not _same_name(reader, writer):
            return [f"{path or 'the schema'}: record {writer['name']} was written, {reader['name']} is read"]
        pair = (reader["name"], writer["name"])
        if pair in self.open:
            return []
        self.open.add(pair)
        problems = []
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{path}.{field['name']}" if path else f"{reader['name']}.{field['name']}"
            names = [field["name"], *field.get("aliases", ())]
            source = next((written[name] for name in names if name in written), None)
            if source is not None:
                problems += self.compare(field["type"], source["type"], where)
            elif "default" not in field:
                problems.append(f"{where}: new and without a default")
        self.open.discard(pair)
        return problems

    def enums(self, reader: dict[str, Any], writer: dict[str, Any], path: str) -> list[str]:
        """Compare two enums: every symbol that was written is known or falls to the default."""
        if not _same_name(reader, writer):
            return [f"{path}: enum {writer['name']} was written, {reader['name']} is read"]
        gone = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        # Avro would let a removed symbol fall to the default. A status that turns into UNKNOWN in a replay is data
        # lost, so it is refused here; the default is for readers that are older than the writer.
        return [f"{path}: symbols {', '.join(gone)} were removed"] if gone else []


def _resolved(schema: Schema, names: dict[str, dict[str, Any]]) -> Schema:
    return names.get(schema, schema) if isinstance(schema, str) else schema


def _kind(schema: Schema) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def _same_name(reader: dict[str, Any], writer: dict[str, Any]) -> bool:
    return writer["name"] in [reader["name"], *reader.get("aliases", ())]


def _shown(schema: Schema) -> str:
    if isinstance(schema, list):
        return f"[{', '.join(_shown(branch) for branch in schema)}]"
    return str(schema.get("name", schema["type"])) if isinstance(schema, dict) else str(schema)


if __name__ == "__main__":
    sys.exit(main())
