"""One event, posted over a connection of its own until it is accepted: what a new caller meets."""

import http.client
import uuid
from dataclasses import dataclass, field

import orjson

from deploy.local.ports import LOOPBACK
from tests.crash.model import Usage
from tests.crash.trial import Trial

CREDITS = 15
NO_ANSWER = 0


@dataclass(slots=True)
class OneEvent:
    """An event of a trial. Post it until it is accepted, or its ledger may hold an unknown row."""

    trial: Trial
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answer: str = ""  # the body of the last one

    def post(self, timeout_seconds: float) -> int:
        """Return the status; NO_ANSWER when none came in time."""
        customer = min(self.trial.keys)
        event = {
            "event_id": self.event_id,
            "customer_id": customer,
            "event_type": "TOKEN_USAGE",
            "feature_id": "one",
            "provider": "OPENAI",
            "model": "gpt-4-turbo",
            "input_tokens": 1000,
            "output_tokens": 500,
            "timestamp": "2025-01-17T14:30:00Z",
        }
        headers = {"x-api-key": self.trial.keys[customer], "content-type": "application/json"}
        port = int(self.trial.system.environment["PORT"])
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_seconds)
        try:
            body = orjson.dumps({"events": [event]})
            connection.request("POST", "/v1/events/ingest", body, headers)
            answer = connection.getresponse()
            self.answer = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return NO_ANSWER
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.ACCEPTED:
            usage = Usage(self.event_id, customer, frozenset({self.event_id}), CREDITS)
            self.trial.model.acknowledged([usage])
        return answer.status
