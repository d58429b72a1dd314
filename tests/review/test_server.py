from __future__ import annotations

import asyncio
import csv
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from browser import opened
from review.desks import desk_of, reviewed_run
from robustft.errors import ConfigError
from robustft.review.desk import Desk
from robustft.review.server import COOKIE, serve
from robustft.review.verdicts import PersonVerdicts
from support import MakeConfig, write_moods

TOKEN = "t0ken"
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
async def desk(tmp_path: Path, make: MakeConfig) -> Desk:
    data = write_moods(tmp_path / "d.csv", n=80)
    with data.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with data.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            row | {"id": f"{EVIL}{i}", "question": f"{row['question']}{EVIL}"} for i, row in enumerate(rows)
        )
    run, config = await reviewed_run(tmp_path, make)
    return desk_of(run, config, decisions=frozenset({"review"}))


@pytest.fixture
async def address(desk: Desk) -> AsyncIterator[str]:
    """The page's address, without its token."""
    told: asyncio.Queue[str] = asyncio.Queue()
    server = asyncio.create_task(serve(desk, TOKEN, 0, told.put_nowait))
    yield (await told.get()).partition("/?")[0]
    server.cancel()
    await asyncio.gather(server, return_exceptions=True)


async def test_only_who_knows_the_token_sees_anything(desk: Desk, address: str) -> None:
    async with ClientSession() as stranger:
        for path in ("/", "/state", "/row/0", "/page.js", "/?token=wrong", "/nothing"):
            async with stranger.get(address + path) as reply:
                assert reply.status == 403
                assert "Access-Control-Allow-Origin" not in reply.headers
        async with stranger.post(address + "/verdict", json={"position": 0, "what": "drop"}) as reply:
            assert reply.status == 403
    assert len(desk.verdicts) == 0


async def test_the_token_moves_into_a_cookie_that_no_script_and_no_other_site_has(address: str) -> None:
    async with ClientSession() as session, session.get(f"{address}/?token={TOKEN}", allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Location"]) == (303, "/")
        cookie = reply.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "script-src 'self'" in reply.headers["Content-Security-Policy"]


async def test_another_hosts_name_a_strange_path_and_another_sites_form_are_refused(desk: Desk, address: str) -> None:
    async with ClientSession(headers={"Cookie": f"{COOKIE}={TOKEN}"}) as session:
        async with session.get(address + "/state", headers={"Host": "evil.example"}) as reply:
            assert reply.status == 421
        for path in ("/../pyproject.toml", "/..%2f..%2fetc/passwd", "/page.css/../desk.py", "/desk.py", "/row/-1"):
            async with session.get(address + path) as reply:
                assert reply.status == 404
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
        async with session.get(f"{address}/row/99999") as reply:
            assert reply.status == 404
        async with session.post(address + "/verdict", data={"position": "0", "what": "drop"}) as reply:
            assert reply.status == 415
        for body in ([1], {"position": -1}, {"position": "0"}, {"position": 0, "what": "answer", "value": "Z"}):
            async with session.post(address + "/verdict", json=body) as reply:
                assert reply.status == 400
        async with session.post(address + "/undo", data=b"{", headers={"Content-Type": "application/json"}) as reply:
            assert reply.status == 400
        assert len(desk.verdicts) == 0
        async with session.post(address + "/verdict", json={"position": 0, "what": "drop"}) as reply:
            assert (await reply.json())["done"] == 1
    assert len(PersonVerdicts(desk.verdicts.path)) == 1


async def raw(address: str, path: str) -> bytes:
    """Ask for a path as it is; a client that is well behaved would tidy it up first."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {COOKIE}={TOKEN}\r\nConnection: close\r\n\r\n"
    writer.write(asked.encode())
    reply = await reader.read()
    writer.close()
    return reply


PATHS = (
    *("/../desk.py", "/../../../../../../etc/passwd", "/page.css/../desk.py", "/..%2fdesk.py", "/%2e%2e/desk.py"),
    *("//etc/passwd", "/..\\desk.py", "/page.css%00.py", "/./desk.py", "/page%2ecss/../../desk.py"),
    *("/row/../desk.py", "http://127.0.0.1/desk.py", "/desk.py", "/desk.py?token=t0ken"),
)


async def test_no_path_leads_to_another_file(address: str) -> None:
    assert b" 200 " in (await raw(address, "/page.css")).splitlines()[0]
    for path in PATHS:
        reply = await raw(address, path)
        assert reply.splitlines()[0].split()[1] in {b"400", b"404", b"421"}, path
        assert b"class Desk" not in reply
        assert b"root:" not in reply


async def test_another_site_may_read_nothing(address: str) -> None:
    """Without these headers a browser keeps the reply from the site that asked, and sends no JSON for it."""
    asked = {"Cookie": f"{COOKIE}={TOKEN}", "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    async with ClientSession(headers=asked | {"Access-Control-Request-Headers": "content-type"}) as session:
        for method, path, status in (("GET", "/state", 200), ("OPTIONS", "/verdict", 405), ("OPTIONS", "/state", 405)):
            async with session.request(method, address + path) as reply:
                assert reply.status == status
                assert not [name for name in reply.headers if name.lower().startswith("access-control-")]


async def test_only_this_machine_reaches_it(address: str) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", int(address.rpartition(":")[2]))


async def test_a_port_that_is_taken_is_one_line(desk: Desk, address: str) -> None:
    with pytest.raises(ConfigError, match="--port"):
        await serve(desk, TOKEN, int(address.rpartition(":")[2]), print)


@pytest.fixture
def served(desk: Desk) -> Iterator[str]:
    """The address with its token, served from a thread, since a browser is waited for."""
    told: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()

    def say(line: str) -> None:
        told.append(line)
        ready.set()

    server = loop.create_task(serve(desk, TOKEN, 0, say))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.gather(server, return_exceptions=True)))
    thread.start()
    assert ready.wait(30)
    yield told[0]
    loop.call_soon_threadsafe(server.cancel)
    thread.join()
    loop.close()


def test_the_page_says_what_the_experts_wrote_and_what_to_do_at_the_end(desk: Desk, served: str) -> None:
    from playwright.sync_api import expect

    for position in range(1, len(desk.places)):
        desk.say(position, "drop")
    with opened(served) as tab:
        tab.wait_for_selector("#candidates button")
        assert tab.locator("#candidates .text").all_inner_texts()[0].startswith("A. negative")
        text = tab.locator("details.vote p").first
        expect(text).to_be_hidden()
        tab.keyboard.press("t")
        expect(text).to_be_visible()
        expect(tab.locator("#done")).to_be_hidden()
        tab.keyboard.press("d")
        expect(tab.locator("#done")).to_be_visible()


def test_a_person_reviews_rows_by_the_keyboard(desk: Desk, served: str) -> None:
    from playwright.sync_api import expect

    rows = len(desk.places)
    with opened(served) as tab:

        def said(count: int) -> None:
            expect(tab.locator("#progress")).to_contain_text(f"{count} of {rows}")

        tab.wait_for_selector("#candidates button")
        assert TOKEN not in tab.url
        tab.keyboard.press("2")
        said(1)
        expect(tab.locator("#id")).to_contain_text("row 2 of")
        tab.keyboard.press("k")
        said(2)
        expect(tab.locator("#id")).to_contain_text("row 3 of")
        tab.keyboard.press("d")
        said(3)
        tab.keyboard.press("u")
        said(2)
        expect(tab.locator("#id")).to_contain_text("row 3 of")
        tab.keyboard.press("ArrowLeft")
        expect(tab.locator("#verdict")).to_contain_text("you said")
        tab.keyboard.press("?")
        assert tab.locator("#keys").is_visible()
        tab.keyboard.press("d")  # the page beneath doesn't hear it
        tab.keyboard.press("Escape")
        tab.keyboard.press("n")
        expect(tab.locator("#id")).to_contain_text("row 3 of")
        tab.click("#candidates button >> nth=0")
        said(3)
        tab.wait_for_selector("#neighbours .near")
        # what the data holds is text
        assert EVIL in tab.inner_text("#messages")
        assert tab.locator("img").count() == 0
    kept = PersonVerdicts(desk.verdicts.path)
    assert len(kept) == 3
    first = kept.of(desk.examples[desk.places[0]])
    assert first is not None
    assert first.value == "B"
