"""Floor 0: where facts live. Each role is a Protocol of `core.ports`; each file here is one way to keep it.

| role      | embedded           | on many machines   | in memory        |
|-----------|--------------------|--------------------|------------------|
| state     | `state_sqlite`     | `state_postgres`   | `memory`         |
| online    | `online_sqlite`    | `online_redis`     | `memory`         |
| landing   | `landing_local`    | the same           | `memory`         |
| journal   | `journal`          | `journal_postgres` | `memory_journal` |
| history   | `history_delta`    | the same           | -                |
| current   | `current` (DuckDB) | the same           | -                |
| artifacts | `artifacts_local`  | the same           | -                |

`home` says where they lie, `lease` who may write them.
"""
