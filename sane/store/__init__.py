"""The event log (SQLite or PostgreSQL), the tables made of it, and the files of full outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sane.errors import UsageError

if TYPE_CHECKING:
    from sane.store.base import Store


async def open_store(url: str | None, state_dir: Path) -> Store:
    """Open the event log at a `postgresql://` URL, else (None or "") SQLite in `state_dir`, made 0700 when absent.

    Applies outstanding migrations. Raises StoreError when it can't be opened or is of a newer sane, and UsageError for
    any other URL.
    """
    if not url:
        from sane.store.sqlite import open_sqlite

        return await open_sqlite(state_dir / "sane.db")
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres"):
        raise UsageError(
            f"the store's URL must start with postgresql://, not '{scheme if separator else '…'}'",
            hint="Unset SANE_DATABASE_URL to use SQLite in the state directory.",
        )
    from sane.store.postgres import open_postgres

    return await open_postgres(url)
