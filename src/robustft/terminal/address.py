"""Where a local page is."""

from __future__ import annotations

import webbrowser

from rich.console import Console


def show_address(address: str, browser: bool) -> None:
    """Print the address of a page, and open it where `browser` says so and there is one."""
    console = Console()
    console.print(f"open {address}", soft_wrap=True, highlight=False)
    console.print("Ctrl-C ends it; every verdict is saved as you press the key", highlight=False)
    if browser and console.is_terminal:
        webbrowser.open(address)
