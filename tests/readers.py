"""Reads Delta tables with two readers that are not ours: the `deltalake` package, and DuckDB over its data set.

Arguments: the folder to look for tables in. Standard input: a JSON object from table name to a statement over `relation`.
Standard output: a JSON object from table name to {"rows": as counted by deltalake, "duckdb": the statement's one row}.
"""

import json
import pathlib
import sys

import duckdb
from deltalake import DeltaTable


def main():
    wanted = json.load(sys.stdin)
    tables = {log.parent.name: log.parent for log in pathlib.Path(sys.argv[1]).rglob("_delta_log")}
    missing = sorted(set(wanted) - set(tables))
    if missing:
        sys.exit(f"no Delta table for {missing}; found {sorted(tables)}")
    answer = {}
    for name in sorted(tables):
        relation = DeltaTable(tables[name]).to_pyarrow_dataset()
        connection = duckdb.connect()
        connection.register("relation", relation)
        row = connection.execute(wanted.get(name, "SELECT count(*) FROM relation")).fetchone()
        answer[name] = {"rows": relation.count_rows(), "duckdb": [None if cell is None else float(cell) for cell in row]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
