"""Reads Delta tables with two readers that are not ours: the `deltalake` package with plain Python, and DuckDB over its data set.

Arguments: the folder to look for tables in. Standard input: a JSON object from the name of a table whose rows have revisions to its key columns.
Standard output: a JSON object from table name to
  {"rows": as counted by deltalake,
   "raw": [{"expression", "deltalake", "duckdb", "magnitude"}, ...] over every row of the table,
   "newest": [{"expression", "duckdb", "magnitude"}, ...] over the newest row of each key, where there are revisions}
where an expression is one that DuckDB and afferent's SQL both know, and a magnitude is what rounding errors are to be measured by.
"""

import json
import math
import pathlib
import sys

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

# Whole numbers are summed modulo a prime, so that no sum overflows and none is rounded.
PRIME = 1000003

# Windows before this are final in the stream that the test sends.
FINAL = "2026-03-31 00:15:00+00"

# Columns that say when and how often a row was written; `date` is the partition column.
ENVELOPE = {"watermark", "revision", "generation", "retracted", "date"}


def quantities(fields, prefix=""):
    """(expression, function from a cell to a number or None, path of the cell, is it a float) of every column that can be added up."""
    for field in fields:
        name, kind = field.name, field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        column = f"{prefix}['{name}']" if prefix else f'"{name}"'
        if pa.types.is_struct(kind):
            for expression, number, path, floating in quantities(list(kind), column):
                yield expression, number, [name, *path], floating
        elif pa.types.is_boolean(kind):
            yield f"sum(CASE WHEN {column} THEN 1 ELSE 0 END)", lambda cell: int(bool(cell)), [name], False
        elif pa.types.is_integer(kind):
            yield f"sum({column} % {PRIME})", lambda cell: None if cell is None else remainder(cell), [name], False
        elif pa.types.is_floating(kind):
            finite = lambda cell: cell if cell is not None and abs(cell) < 1e300 else 0.0
            yield f"sum(CASE WHEN abs({column}) < 1e300 THEN {column} ELSE 0.0 END)", finite, [name], True
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            yield f"sum(length({column}))", lambda cell: None if cell is None else len(cell), [name], False
        if not pa.types.is_struct(kind):
            yield f"count({column})", lambda cell: 0 if cell is None else 1, [name], False


def remainder(cell):
    """As SQL's %: the sign is that of the number."""
    return math.copysign(abs(cell) % PRIME, cell) if cell else 0


def cells(columns, path):
    rows = columns[path[0]]
    for name in path[1:]:
        rows = [None if cell is None else cell[name] for cell in rows]
    return rows


def main():
    keys = json.load(sys.stdin)
    tables = {log.parent.name: log.parent for log in pathlib.Path(sys.argv[1]).rglob("_delta_log")}
    answer = {}
    for name in sorted(tables):
        relation = DeltaTable(tables[name]).to_pyarrow_dataset()
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("relation", relation)
        columns = {column: relation.to_table(columns=[column]).column(column).to_pylist() for column in relation.schema.names}
        wanted = [quantity for quantity in quantities(relation.schema) if quantity[2][0] != "date"]
        both = connection.execute(f"SELECT {', '.join(expression for expression, *_ in wanted)} FROM relation").fetchone()
        raw = []
        for (expression, number, path, _), other in zip(wanted, both):
            numbers = [number(cell) or 0 for cell in cells(columns, path)]
            magnitude = math.fsum(abs(n) for n in numbers)
            raw.append({"expression": expression, "deltalake": math.fsum(numbers), "duckdb": float(other or 0), "magnitude": magnitude})
        answer[name] = {"rows": relation.count_rows(), "raw": raw}
        if name in keys:
            answer[name]["newest"] = newest(connection, keys[name], [q for q in wanted if q[2][0] not in ENVELOPE], columns)
    json.dump(answer, sys.stdout)


def newest(connection, key, wanted, columns):
    """Sums over the newest row of each key; of windows, those that are final for long."""
    partition = ", ".join(f'"{column}"' for column in key)
    order = ("generation DESC, " if "generation" in columns else "") + "coalesce(revision, 0) DESC"
    there = "retracted IS NOT TRUE" if "retracted" in columns else "true"
    rank = f"row_number() OVER (PARTITION BY {partition} ORDER BY {order})"
    rows = f"(SELECT * FROM (SELECT *, {rank} AS rank FROM relation) WHERE rank = 1 AND {there})"
    final = f"WHERE window_start < TIMESTAMP '{FINAL}'" if "window_start" in columns else ""
    sums = ["count(*)", *(expression for expression, *_ in wanted)]
    magnitudes = [expression.replace("THEN ", "THEN abs(").replace(" ELSE 0.0", ") ELSE 0.0") if floating else "0" for expression, _, _, floating in wanted]
    found = connection.execute(f"SELECT {', '.join(sums + magnitudes)} FROM {rows} {final}").fetchone()
    sizes = [0, *found[len(sums):]]
    return [{"expression": e, "duckdb": float(v or 0), "magnitude": float(m or 0)} for e, v, m in zip(sums, found, sizes)]


if __name__ == "__main__":
    main()
