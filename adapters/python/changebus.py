"""ChangeBus for Python programs: say something to it, and hear what it does.

    async with Bus("nats://127.0.0.1:4222", app="ci") as bus:
        await bus.say("job.finished", {"job": 7, "ok": False})
        async for event in bus.hear("result.run.*.closed"):
            print(event["subject"], event["data"]["customData"]["fact"])

Over NATS it needs the package `nats-py`. Over HTTP (`Bus("http://127.0.0.1:7117", app="ci", token="...")`) it needs
nothing, and can only say. What may be said and heard: docs/apps.md and docs/events.md of ChangeBus.
"""

import asyncio
import datetime
import json
import urllib.error
import urllib.request
import uuid


class NotTaken(Exception):
    """ChangeBus does not take this message, and says why."""


class Bus:
    """`options` go to `nats.connect`: user, password, token, user_credentials, tls. `prefix` and `stream` are those of
    the hosts' `[bus]`."""

    def __init__(self, url, app, token=None, prefix="", stream="CHANGEBUS", **options):
        self.url, self.app, self.token = url, app, token
        self.prefix, self.stream, self.options = prefix and f"{prefix}.", stream, options
        self.client = None

    async def __aenter__(self):
        if not self.url.startswith("http"):
            import nats

            token = {"token": self.token} if self.token else {}
            self.client = await nats.connect(self.url, **token, **self.options)
        return self

    async def __aexit__(self, *_):
        if self.client:
            await self.client.close()

    async def say(self, event, data, id=None, about=None):
        """Returns the message's id once it is kept. Saying it again under the same id is saying it once."""
        id = id or str(uuid.uuid4())
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        message = {"specversion": "1.0", "id": id, "source": f"/apps/{self.app}", "type": f"app.{self.app}.{event}"}
        message |= {"time": now, "data": data} | ({"subject": about} if about else {})
        body, kind = json.dumps(message).encode(), {"Content-Type": "application/cloudevents+json"}
        if self.client:
            headers = kind | {"Nats-Msg-Id": f"{self.app}/{id}"}
            subject = f"{self.prefix}app.{self.app}.{event}"
            await self.client.jetstream().publish(subject, body, stream=self.stream, headers=headers)
        else:
            await asyncio.to_thread(self._post, event, body, kind)
        return id

    def _post(self, event, body, headers):
        headers = headers | {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.url}/apps/{self.app}/{event}", body, headers, method="POST")
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as refused:
            with refused:
                raise NotTaken(f"{refused.code}: {refused.read().decode(errors='replace')}") from None

    async def hear(self, subject=">", consumer=None):
        """Events under a subject, for ever, each acknowledged when the next is asked for. A named consumer goes on where
        it was; without a name hearing starts now."""
        from nats.errors import TimeoutError
        from nats.js.api import ConsumerConfig, DeliverPolicy

        start = DeliverPolicy.ALL if consumer else DeliverPolicy.NEW
        events = await self.client.jetstream().pull_subscribe(
            f"{self.prefix}{subject}", durable=consumer, stream=self.stream, config=ConsumerConfig(deliver_policy=start)
        )
        while True:
            try:
                messages = await events.fetch(64, timeout=5)
            except TimeoutError:
                continue
            for message in messages:
                yield json.loads(message.data)
                await message.ack()
