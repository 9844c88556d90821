"""The rules of trading (udfs.domain) and the PyFlink shells around them (udfs.operators)."""
