"""Talks to the server given as first argument with Anthropic's own client, and prints what it understood."""

import json
import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="sk-ant-official", max_retries=0)


def ask(text, **more):
    return dict(
        model="claude-sonnet-5-5",
        max_tokens=1000,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": text}],
        **more,
    )


def told(message):
    details = message.stop_details
    return {
        "types": [block.type for block in message.content],
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "stop_reason": message.stop_reason,
        "category": details.category if details else None,
        "input_tokens": message.usage.input_tokens,
        "output_tokens": message.usage.output_tokens,
    }


def streamed(text):
    with client.messages.stream(**ask(text)) as stream:
        return told(stream.get_final_message())


def failed(action):
    try:
        return {"error": None, "answer": str(action())}
    except anthropic.APIStatusError as error:
        return {
            "error": type(error).__name__,
            "status": error.status_code,
            "type": error.type,
            "code": error.error_code,
            "request_id": error.request_id,
            "retry_after": error.response.headers.get("retry-after"),
        }


json.dump(
    {
        "streamed": streamed("text"),
        "whole": told(client.messages.create(**ask("text"))),
        "refused": streamed("refusal"),
        "limited": failed(lambda: streamed("limited")),
        "spent": failed(lambda: streamed("spent")),
        "broken": failed(lambda: streamed("broken")),
        "misspelt": failed(lambda: client.messages.create(**ask("text", extra_body={"max_token": 1}))),
        "sampled": failed(lambda: client.messages.create(**ask("text", extra_body={"temperature": 1.0}))),
    },
    sys.stdout,
)
