"""Says and hears through our adapter. Arguments: NATS address, HTTP address, token. Prints what it heard and what was refused."""

import asyncio
import json
import sys

from changebus import Bus, NotTaken


async def first(events):
    async for event in events:
        return event


async def main(nats, http, token):
    async with Bus(nats, app="ci") as bus:
        await bus.say("python.nats", {"n": 1}, id="py-1", about="a job")
        await bus.say("python.nats", {"n": 1}, id="py-1", about="a job")
        heard = await asyncio.wait_for(first(bus.hear("result.run.*.closed", consumer="python")), 60)
    async with Bus(http, app="ci", token=token) as bus:
        await bus.say("python.http", {"n": 2}, id="py-2")
        await bus.say("python.http", {"n": 2}, id="py-2")
        try:
            await bus.say("python.http", "x" * 2_000_000)
            refused = None
        except NotTaken as why:
            refused = str(why)
    json.dump({"heard": heard, "refused": refused}, sys.stdout)


asyncio.run(main(*sys.argv[1:]))
