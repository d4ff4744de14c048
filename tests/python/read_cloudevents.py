"""Reads messages with the official CloudEvents package, as a consumer does that knows nothing of ChangeBus.

Reads the texts of messages, as a JSON list of strings, and prints for each its attributes, its data and how the package
writes it again, or what the package holds against it.
"""

import json
import sys

from cloudevents.core.formats.json import JSONFormat

FORMAT = JSONFormat()


def read(body):
    """What the package makes of the bytes of one message."""
    try:
        event = FORMAT.read(None, body)
        written = json.loads(FORMAT.write(event))
    except Exception as problem:
        return {"problem": f"{type(problem).__name__}: {problem}"}
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    return {"problem": None, "attributes": attributes, "data": event.get_data(), "written": written}


if __name__ == "__main__":
    json.dump([read(text.encode()) for text in json.load(sys.stdin)], sys.stdout)
