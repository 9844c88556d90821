"""The analysts' notebook, executed by a real kernel on a simulated day in a real ClickHouse engine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from archive_gateway import GatewayProcess
from archived_day import archive, play
from nbclient import NotebookClient

from jobs import migrate
from jobs.config import project_root

NOTEBOOK = project_root() / "sql" / "clickhouse" / "notebook.ipynb"
TIMEOUT_S = 300
"""For a cell, and for the kernel's start, on a busy machine."""
SVG = "image/svg+xml"


def test_notebook_goes_from_connection_to_charts(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "clickhouse")
    try:
        config = gateway.config("default")
        migrate.apply(config, print)
        archive(config, play(orders=600, symbols=4, ticks=2_000))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        address = urlsplit(gateway.url)
        settings = notebook.cells[1]
        assert settings.source.count("HOST, PORT") == 1 and settings.source.count("USER, PASSWORD_FILE") == 1
        settings.source = (
            f"HOST, PORT = {address.hostname!r}, {address.port!r}\n"
            f"USER, PASSWORD_FILE = {config.clickhouse.username!r}, None"
        )
        NotebookClient(
            notebook, timeout=TIMEOUT_S, startup_timeout=TIMEOUT_S, resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
    finally:
        gateway.stop()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    charts = [output.data[SVG] for output in outputs if SVG in output.get("data", {})]
    assert len(charts) == 2
    for chart, title, mark in zip(
        charts, ("VWAP of our executions", "How orders end"), ("mark-line", "mark-rect"), strict=True
    ):
        assert title in chart
        assert mark in chart
    tables = [output.data for output in outputs if "text/html" in output.get("data", {})]
    assert len(tables) >= 3


def test_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
