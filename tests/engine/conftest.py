"""Empty stores of both kinds for the engine's tests, as the store's own tests have them."""

from tests.store.conftest import open_another, postgres_schema_url, postgres_url, store, store_url

__all__ = ["open_another", "postgres_schema_url", "postgres_url", "store", "store_url"]
