"""Thin PyFlink shells around the pure domain: state, journal, chunking, limits and metrics."""
