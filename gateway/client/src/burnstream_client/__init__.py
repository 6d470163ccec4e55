"""Tells Burnstream's gateway of usage: buffered, in batches, each event charged once.

with Client("http://127.0.0.1:8081", "om_live_...", customer_id="cust-1") as client:
    client.track("API_CALL", "search")
"""

from burnstream_client.buffer import BufferFullError, ClosedError
from burnstream_client.client import Client
from burnstream_client.events import Fields, Refusal

__all__ = ["BufferFullError", "Client", "ClosedError", "Fields", "Refusal"]
