"""Holds requests against a strict JSON Schema made from the types of Anthropic's own SDK.

Reads [{"name": ..., "body": ...}, ...] and prints, by name, what is wrong with each.
"""

import json
import sys

from anthropic.types.message_create_params import MessageCreateParams
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter


def close(node):
    """Forbids every field the types do not name; pydantic alone lets them pass."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        for child in node.values():
            close(child)
    elif isinstance(node, list):
        for child in node:
            close(child)


schema = TypeAdapter(MessageCreateParams).json_schema()
close(schema)
Draft202012Validator.check_schema(schema)
judge = Draft202012Validator(schema)


def complaints(body):
    return [f"{error.json_path}: {error.message}"[:300] for error in judge.iter_errors(body)]


requests = json.load(sys.stdin)
json.dump({request["name"]: complaints(request["body"]) for request in requests}, sys.stdout)
