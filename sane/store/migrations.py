"""The tables, as numbered steps that are applied once, in order, under the lock of the transaction that runs them.

Plain SQL and a version number: a migration tool would have to be imported by every start of sane to find that
there is nothing to do. Each step is written in the SQL that both databases share, and never edited once released.
"""

from __future__ import annotations

from collections.abc import Sequence

from sane.errors import StoreError
from sane.store.script import Query, Script, fetch

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE log_counter (one INTEGER PRIMARY KEY CHECK (one = 1), last_seq BIGINT NOT NULL)",
        "INSERT INTO log_counter (one, last_seq) VALUES (1, 0)",
        """CREATE TABLE events (seq BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
           deployment TEXT NOT NULL, host TEXT NOT NULL, data TEXT NOT NULL)""",
        "CREATE INDEX events_by_deployment ON events (deployment, seq)",
        "CREATE INDEX events_by_key ON events (key, seq)",
        """CREATE TABLE deployments (id TEXT PRIMARY KEY, key TEXT NOT NULL, revision BIGINT NOT NULL,
           version TEXT NOT NULL, digest TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
           stable BIGINT NOT NULL, created_at_ms BIGINT NOT NULL, updated_at_ms BIGINT NOT NULL,
           created_seq BIGINT NOT NULL, idempotency_key TEXT NOT NULL, request_digest TEXT NOT NULL,
           UNIQUE (key, revision))""",
        "CREATE INDEX deployments_by_age ON deployments (created_seq)",
        """CREATE UNIQUE INDEX deployments_by_idempotency ON deployments (key, idempotency_key)
           WHERE idempotency_key <> ''""",
        """CREATE TABLE targets (deployment TEXT NOT NULL, host TEXT NOT NULL, version TEXT NOT NULL,
           digest TEXT NOT NULL, PRIMARY KEY (deployment, host))""",
        """CREATE TABLE hosts (key TEXT NOT NULL, host TEXT NOT NULL, deployment TEXT NOT NULL, status TEXT NOT NULL,
           version TEXT NOT NULL, digest TEXT NOT NULL, proven_by TEXT NOT NULL, previous_version TEXT NOT NULL,
           previous_digest TEXT NOT NULL, updated_at_ms BIGINT NOT NULL, seq BIGINT NOT NULL,
           PRIMARY KEY (key, host))""",
        """CREATE TABLE leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, token BIGINT NOT NULL,
           until_ms BIGINT NOT NULL)""",
    ),
)


def migrate(
    name: str, statements: Sequence[Sequence[str]] = MIGRATIONS, *, integer: str = "BIGINT"
) -> Script[tuple[int, int]]:
    """Bring the tables up to date and return the versions before and after.

    `integer` is the database's word for a 64-bit integer (SQLite only makes INTEGER PRIMARY KEY its row number).
    Raises StoreError when the tables are of a newer sane; `name` says where they are.
    """
    yield Query(f"CREATE TABLE IF NOT EXISTS schema_version (version {integer} NOT NULL)")
    rows = yield from fetch("SELECT version FROM schema_version")
    before, after = int(rows[0][0]) if rows else 0, len(statements)
    if before > after:
        raise StoreError(
            f"the event log {name} has version {before} of the tables; this sane knows them up to version {after}",
            hint="Use the newer sane that wrote it, or another SANE_STATE_DIR or SANE_DATABASE_URL.",
        )
    for step in statements[before:]:
        for statement in step:
            yield Query(statement.replace("BIGINT", integer))
    if not rows:
        yield Query("INSERT INTO schema_version (version) VALUES (?)", (after,))
    elif before < after:
        yield Query("UPDATE schema_version SET version = ?", (after,))
    return before, after
