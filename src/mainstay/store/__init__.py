"""Floor 0: where facts live. Each role is a Protocol of `core.ports`; each file here is one way to keep it.

| role      | embedded           | in memory      |
|-----------|--------------------|----------------|
| state     | `state_sqlite`     | `memory`       |
| online    | `online_sqlite`    | `memory`       |
| landing   | `landing_local`    | `memory`       |
| journal   | `journal`          | `memory`       |
| history   | `history_delta`    | -              |
| current   | `current` (DuckDB) | -              |
| artifacts | `artifacts_local`  | -              |

`home` says where they lie, `lease` who may write them.
"""
