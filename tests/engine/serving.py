"""A model server as a command: python serving.py PORT FOLDER; it writes its process id into FOLDER."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from llm.server import ChatServer


async def main(port: int, folder: Path) -> None:
    async with ChatServer(answer=lambda body: "Answer: B", port=port):
        (folder / f"{port}.pid").write_text(str(os.getpid()))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
