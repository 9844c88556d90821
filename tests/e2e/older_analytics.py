"""The analytics job as an older release named its sink for savepoints."""

from __future__ import annotations

from jobs import analytics as job

if __name__ == "__main__":
    _, former = job.SINKS["analytics_sink"]
    job.SINKS = {"analytics_sink": (former,)}
    job.main()
