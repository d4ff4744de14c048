"""HumanRail's official client as a judge: signs what ours verifies, verifies what ours signed, and uses the stand-in of the stories.

Arguments: base URL, key, webhook secret. Input: {"body", "signed", "forged", "task"}. Prints what it found.
"""

import json
import sys

from humanrail import (
    AuthenticationError,
    ConflictError,
    EscalationClient,
    TaskNotFoundError,
    construct_webhook_signature,
    verify_webhook_signature,
)

base, key, secret = sys.argv[1:]
given = json.load(sys.stdin)
task = given["task"]


def verified(signature):
    return verify_webhook_signature(payload=given["body"], signature=signature, secret=secret)


def refused(error, act):
    try:
        act()
    except error as told:
        return told.status_code
    return None


client = EscalationClient(key, base_url=base, max_retries=0)
stranger = EscalationClient("ek_other", base_url=base, max_retries=0)
asked = dict(
    idempotency_key=task["idempotencyKey"],
    task_type=task["taskType"],
    payload=task["payload"],
    output_schema=task["outputSchema"],
    payout=task["payout"],
)
first = client.tasks.create(**asked)
again = client.tasks.create(**asked)
cancelled = client.tasks.cancel(first.id)
found = {
    "signed": construct_webhook_signature(given["body"], secret),
    "verified": verified(given["signed"]),
    "forged": verified(given["forged"]),
    "task": first.id,
    "again": again.id,
    "cancelled": cancelled.status.value,
    "status": client.tasks.get(first.id).status.value,
    "refused": [
        refused(ConflictError, lambda: client.tasks.cancel(first.id)),
        refused(TaskNotFoundError, lambda: client.tasks.get("none")),
        refused(AuthenticationError, lambda: stranger.tasks.get(first.id)),
    ],
}
json.dump(found, sys.stdout)
