"""A period of the audit trail as files that can be verified without us: Parquet, and a manifest.

    records/TOPIC.parquet    the links of a topic's chains, chain by chain, in their order
    roots.parquet            the roots of the blocks of these days
    manifest.json            the days; of each file its SHA-256, bytes and rows; of each chain its links, the offsets of the first
                             and the last of them, and the chain hashes before the first and after the last

The manifest is what to sign, or to store where it cannot be changed: whoever can rewrite it can rewrite the files too. Memory:
a page of links and the roots of the days.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.audit_reading import chain_of, clickhouse_chains, clickhouse_links, clickhouse_roots
from jobs.audit_walk import Chain, Report, TrailWalk
from schemas.messages.audit_records import AuditRecord
from schemas.messages.enums import AUDIT_SOURCE_CODES, AUDIT_SOURCE_NAMES
from udfs.domain.audit_chain import Block

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_PAGE: Final = 5_000
_LINKS: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("source", pa.string()),
        ("source_topic", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        ("record_hash", pa.binary()),
        ("chain_hash", pa.binary()),
        ("actor", pa.string()),
        ("timestamp", pa.timestamp("ns", "UTC")),
        ("event_type", pa.string()),
        ("kept", pa.bool_()),
        ("record_key", pa.binary()),
        ("payload", pa.binary()),
    ]
)
_ROOTS: Final = pa.schema(
    [
        ("chain", pa.string()),
        ("date", pa.string()),
        ("first_offset", pa.int64()),
        ("last_offset", pa.int64()),
        ("record_count", pa.int64()),
        ("merkle_root", pa.binary()),
        ("chain_hash", pa.binary()),
        ("previous_root", pa.binary()),
    ]
)


class ExportError(RuntimeError):
    """An export that cannot be written or read; the message says why."""


def write(client: Any, since: date, until: date, out: Path) -> tuple[Report, Path]:
    """Write the export of the days from `since` to `until`, both included; what the walk found, and the manifest's path.

    Raises ExportError when the folder has something in it, ClickHouseError.
    """
    if out.exists() and any(out.iterdir()):
        raise ExportError(f"{out} is not empty: an export gets a folder of its own")
    (out / "records").mkdir(parents=True, exist_ok=True)
    roots, bad = clickhouse_roots(client)
    first, last = since.isoformat(), until.isoformat()
    within = {chain: [block for day, block in of if first <= day <= last] for chain, of in roots.items()}
    before = {chain: [block for day, block in of if day < first] for chain, of in roots.items()}
    after = {chain: blocks[-1] for chain, blocks in before.items() if blocks}
    walk = TrailWalk({chain: blocks for chain, blocks in within.items() if blocks}, after)
    for place, why in bad:
        walk.fault(place, why)
    chains: dict[str, dict[str, Any]] = {}
    by_topic: dict[str, list[Chain]] = {}
    for chain in sorted({*clickhouse_chains(client), *within}):
        by_topic.setdefault(chain[0], []).append(chain)
    for topic, of_topic in by_topic.items():
        file = out / "records" / f"{topic}.parquet"
        with pq.ParquetWriter(file, _LINKS, compression="zstd") as writer:
            page: list[AuditRecord] = []
            for chain in of_topic:
                for link in _links_within(client, chain, roots.get(chain, []), since, until):
                    walk.add(link)
                    _note(chains, link, after.get(chain))
                    page.append(link)
                    if len(page) == _PAGE:
                        writer.write_table(_table(page))
                        page = []
            writer.write_table(_table(page))
    rows = [
        (f"{topic}-{partition}", day, block)
        for (topic, partition), of in sorted(roots.items())
        for day, block in of
        if first <= day <= last
    ]
    pq.write_table(_roots_table(rows), out / "roots.parquet", compression="zstd")
    report = walk.finish()
    names = [*sorted(f"records/{topic}.parquet" for topic in by_topic), "roots.parquet"]
    manifest = {
        "format": FORMAT,
        "from": first,
        "to": last,
        "records": report.records,
        "roots": len(rows),
        "broken": report.broken,
        "firstFaults": report.first,
        "files": {name: _described(out / name) for name in names},
        "chains": chains,
    }
    path = out / MANIFEST
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return report, path


def check(folder: Path) -> Report:
    """Verify an export by itself. Raises ExportError when it has no manifest that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files, chains = manifest["files"], manifest["chains"]
        described = {name: (str(entry["sha256"]), int(entry["rows"])) for name, entry in files.items()}
        starts = {
            chain_of(name): (int(entry["firstOffset"]), bytes.fromhex(entry["startHash"]), entry["previousRoot"])
            for name, entry in chains.items()
        }
        if manifest["format"] != FORMAT:
            raise ExportError(f"{folder / MANIFEST} has format {manifest['format']}; this release reads {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder / MANIFEST} is no manifest of an export: {error}") from error
    faults = [(name, why) for name, (digest, _) in described.items() if (why := _file_fault(folder / name, digest))]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    faults += [(name, "the manifest does not have it") for name in sorted(there - set(described))]
    readable = [name for name in described if (folder / name).is_file()]
    roots: dict[Chain, list[Block]] = {}
    counted: dict[str, int] = {}
    try:
        if "roots.parquet" in readable:
            for row in pq.read_table(folder / "roots.parquet").to_pylist():
                roots.setdefault(chain_of(row["chain"]), []).append(_block(row))
        after = {
            chain: Block(offset - 1, offset - 1, 0, bytes.fromhex(root or ""), start, None)
            for chain, (offset, start, root) in starts.items()
            if offset > 0 and root is not None
        }
        walk = TrailWalk(roots, after)
        for name in readable:
            if name.startswith("records/"):
                for link in _read_links(folder / name):
                    counted[f"{link.source_topic}-{link.source_partition}"] = (
                        counted.get(f"{link.source_topic}-{link.source_partition}", 0) + 1
                    )
                    walk.add(link)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(f"the files of {folder} cannot be read: {error}") from error
    for name, why in faults:
        walk.fault(name, why)
    for name, entry in chains.items():
        if counted.get(name, 0) != entry["links"]:
            walk.fault(name, f"{counted.get(name, 0)} links, and the manifest has {entry['links']}")
    return walk.finish()


def _links_within(
    client: Any, chain: Chain, roots: Sequence[tuple[str, Block]], since: date, until: date
) -> Iterator[AuditRecord]:
    """The links of whole blocks of these days, and of the open block when its first link is of them."""
    first, last = since.isoformat(), until.isoformat()
    days = [(day, block) for day, block in roots if first <= day <= last]
    later = [block for day, block in roots if day > last]
    earlier = [block for day, block in roots if day < first]
    low = days[0][1].first_offset if days else (earlier[-1].last_offset + 1 if earlier else 0)
    if later:
        if days:
            yield from clickhouse_links(client, chain, low, later[0].first_offset - 1)
        return
    closed = days[-1][1].last_offset if days else low - 1
    if days:
        yield from clickhouse_links(client, chain, low, closed)
    end = datetime.combine(until + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    begin = datetime.combine(since, datetime.min.time(), UTC).timestamp()
    open_block = clickhouse_links(client, chain, closed + 1)
    head = next(open_block, None)
    if head is not None and begin * 1_000_000_000 <= head.timestamp < end * 1_000_000_000:
        yield head
        yield from open_block


def _note(chains: dict[str, dict[str, Any]], link: AuditRecord, after: Block | None) -> None:
    """Note a link in what the manifest says of its chain."""
    name = f"{link.source_topic}-{link.source_partition}"
    entry = chains.get(name)
    if entry is None:
        entry = chains[name] = {
            "links": 0,
            "firstOffset": link.source_offset,
            # The chain's own beginning needs no hash.
            "startHash": after.chain_hash.hex() if after else "",
            "previousRoot": after.merkle_root.hex() if after else None,
        }
    entry["links"] += 1
    entry["lastOffset"] = link.source_offset
    entry["endHash"] = link.chain_hash.hex()


def _table(links: Sequence[AuditRecord]) -> pa.Table:
    columns = {name: [getattr(link, name) for link in links] for name in _LINKS.names}
    columns["source"] = [AUDIT_SOURCE_NAMES[code] if code >= 0 else "" for code in columns["source"]]
    return pa.Table.from_arrays(
        [
            pa.array(columns[field.name], pa.int64()).view(field.type)
            if field.name == "timestamp"
            else pa.array(columns[field.name], field.type)
            for field in _LINKS
        ],
        schema=_LINKS,
    )


def _read_links(file: Path) -> Iterator[AuditRecord]:
    for batch in pq.ParquetFile(file).iter_batches(_PAGE):
        rows = pa.Table.from_batches([batch])
        rows = rows.set_column(
            rows.schema.get_field_index("timestamp"), "timestamp", rows.column("timestamp").cast(pa.int64())
        )
        for row in rows.to_pylist():
            yield AuditRecord(**{**row, "source": AUDIT_SOURCE_CODES.get(row["source"], -1)})


def _roots_table(rows: Sequence[tuple[str, str, Block]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "chain": name,
                "date": day,
                "first_offset": block.first_offset,
                "last_offset": block.last_offset,
                "record_count": block.count,
                "merkle_root": block.merkle_root,
                "chain_hash": block.chain_hash,
                "previous_root": block.previous_root,
            }
            for name, day, block in rows
        ],
        schema=_ROOTS,
    )


def _block(row: dict[str, Any]) -> Block:
    return Block(
        row["first_offset"],
        row["last_offset"],
        row["record_count"],
        row["merkle_root"],
        row["chain_hash"],
        row["previous_root"],
    )


def _described(file: Path) -> dict[str, Any]:
    rows = pq.ParquetFile(file).metadata.num_rows
    return {"sha256": _digest(file), "bytes": file.stat().st_size, "rows": rows}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _file_fault(file: Path, digest: str) -> str | None:
    """What is wrong with a file, None when nothing."""
    if not file.is_file():
        return "the file is not there"
    return None if _digest(file) == digest else "the file is not the one that was exported"
