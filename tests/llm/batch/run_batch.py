"""Stands in for `vllm run-batch`, which takes a minute to start: same arguments, same output, same way to refuse.

Each start adds its process id to the file `starts` in the folder --home.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from llm.server import ChatServer


def reply(entry: dict[str, Any], number: int, server: ChatServer) -> dict[str, Any]:
    head = {"id": f"vllm-{number}", "custom_id": entry["custom_id"]}
    if entry["body"]["model"] not in server.models:
        return head | _refused(404, f"The model `{entry['body']['model']}` does not exist.")
    if "too long" in str(entry["body"]):
        return head | _refused(400, "This model's maximum context length is 2048 tokens.")
    body = server._complete(entry["body"])
    return head | {"response": {"status_code": 200, "request_id": "r", "body": body}, "error": None}


def _refused(status: int, message: str) -> dict[str, Any]:
    error = {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}
    return {"response": {"status_code": status, "request_id": "r", "body": None}, "error": error}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("-i", type=Path, required=True)
    parser.add_argument("-o", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--crash", action="store_true")
    parser.add_argument("--keep", type=int)
    args = parser.parse_args()
    with (args.home / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    print("loading", file=sys.stderr, flush=True)
    time.sleep(args.delay)
    if args.crash:
        sys.exit("Traceback (most recent call last):\n  ...\nRuntimeError: Engine core initialization failed.")
    server = ChatServer(models=(args.model,))
    lines = args.i.read_bytes().splitlines()
    replies = [orjson.dumps(reply(orjson.loads(line), n, server)) for n, line in enumerate(lines)]
    with args.o.open("wb") as file:
        file.write(b"\n".join(replies[: args.keep]) + b"\n")
        if args.keep is not None:
            file.write(replies[0][:20])


if __name__ == "__main__":
    main()
