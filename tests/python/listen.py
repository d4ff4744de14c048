"""Reads a whole stream with the official NATS client, and each message as a CloudEvent with the official SDK.

Arguments: server, stream. Prints a JSON list of what was read, in the order of the stream.
"""

import asyncio
import json
import sys

import nats
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from nats.js.api import ConsumerConfig, DeliverPolicy


def read(message):
    told = HTTPMessage(headers=dict(message.headers or {}), body=message.data)
    event = from_structured_event(told, JSONFormat())
    return {
        "nats_subject": message.subject,
        "nats_id": (message.headers or {}).get("Nats-Msg-Id"),
        "id": event.get_id(),
        "type": event.get_type(),
        "source": event.get_source(),
        "data": event.get_data(),
    }


async def main(server, stream):
    client = await nats.connect(server)
    context = client.jetstream()
    count = (await context.stream_info(stream)).state.messages
    subscription = await context.pull_subscribe(
        "",
        stream=stream,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL),
    )
    found = []
    while len(found) < count:
        for message in await subscription.fetch(min(100, count - len(found)), timeout=10):
            found.append(read(message))
            await message.ack()
    await client.close()
    json.dump(found, sys.stdout)


asyncio.run(main(*sys.argv[1:]))
