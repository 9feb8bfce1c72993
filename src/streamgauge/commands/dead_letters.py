"""`streamgauge dead-letters`: looks at events that could not be handled, sends them again, or puts them away."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from streamgauge.commands.where import Config, Data, Url
from streamgauge.commit import DeadLetterName
from streamgauge.dead_letters import read_name
from streamgauge.errors import StreamgaugeError
from streamgauge.remote import Remote
from streamgauge.store import Store
from streamgauge.web.dead_letters import FEW, MOST, PATH, Discarded
from streamgauge.web.letters import Letter, LetterAbout, LetterList, Replayed, about, whole

NO_SERVER: Final = "no server is running on this data folder, and only a server can take events; start it, or name one with --url"


class Letters(Protocol):
    """Dead letters, wherever they are."""

    def page(self, limit: int, after: str | None, state: str) -> LetterList:
        """Give letters, the last ones first."""

    def find(self, name: str) -> Letter:
        """Give one letter whole."""

    def replay(self, wanted: dict[str, Any]) -> Replayed:
        """Send letters again."""

    def discard(self, wanted: dict[str, Any]) -> int:
        """Mark letters as dealt with."""


@dataclass(frozen=True, slots=True)
class RemoteLetters:
    """The dead letters of a server that runs."""

    remote: Remote

    def page(self, limit: int, after: str | None, state: str) -> LetterList:
        """See `Letters.page`."""
        more = f"&after={after}" if after else ""
        return self.remote.call("GET", f"{PATH}?limit={limit}&state={state}{more}", LetterList)

    def find(self, name: str) -> Letter:
        """See `Letters.find`."""
        return self.remote.call("GET", f"{PATH}/{name}", Letter)

    def replay(self, wanted: dict[str, Any]) -> Replayed:
        """See `Letters.replay`."""
        return self.remote.call("POST", f"{PATH}/replay", Replayed, wanted)

    def discard(self, wanted: dict[str, Any]) -> int:
        """See `Letters.discard`."""
        return self.remote.call("POST", f"{PATH}/discard", Discarded, wanted).discarded


@dataclass(frozen=True, slots=True)
class StoredLetters:
    """The dead letters of a data folder that no server owns."""

    store: Store

    def page(self, limit: int, after: str | None, state: str) -> LetterList:
        """See `Letters.page`."""
        before = None if after is None else read_name(after)
        found = self.store.dead_letters(limit, before=before, only_open=state == "open")
        letters = [about(kept) for kept in found]
        return LetterList(
            self.store.open_dead_letters(), letters, letters[-1].name if len(letters) == limit else None
        )

    def find(self, name: str) -> Letter:
        """See `Letters.find`."""
        kept = self.store.dead_letter(read_name(name))
        if kept is None:
            raise StreamgaugeError(f"there is no dead letter {name}")
        return whole(kept)

    def replay(self, wanted: dict[str, Any]) -> Replayed:  # noqa: ARG002  the protocol's argument
        """Refuse: see `NO_SERVER`."""
        raise StreamgaugeError(NO_SERVER)

    def discard(self, wanted: dict[str, Any]) -> int:
        """See `Letters.discard`."""
        now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
        if not wanted.get("all"):
            return self.store.discard_dead_letters([read_name(name) for name in wanted["names"]], now_us)
        count, before = 0, None
        while found := self.store.dead_letters(MOST, before=before):
            names: Sequence[DeadLetterName] = [kept.name for kept in found]
            count, before = count + self.store.discard_dead_letters(names, now_us), names[-1]
        return count


Names = Annotated[list[str] | None, typer.Argument(help="Names, as `list` shows them.", metavar="NAME")]

Opened = Callable[[str | None, str | None, Path | None], AbstractContextManager[Letters]]


def register(cli: typer.Typer, opened: Opened, plain_errors: Callable[[Any], Any]) -> None:
    """Add the group to the command line. opened: gives the letters that --url, --data and --config name."""
    group = typer.Typer(
        name="dead-letters",
        help="Events that could not be handled: look at them, send them again, or put them away.",
        no_args_is_help=True,
    )

    @group.command("list", epilog="Example: streamgauge dead-letters list --limit 10")
    @plain_errors
    def list_command(
        *,
        limit: Annotated[int, typer.Option(help="How many, the last ones first.", min=1)] = FEW,
        after: Annotated[str | None, typer.Option(help="Go on behind this name.")] = None,
        every: Annotated[bool, typer.Option("--all", help="Also those replayed or discarded.")] = False,
        url: Url = None,
        data: Data = None,
        config_file: Config = None,
    ) -> None:
        """List them: as a table, or as one JSON object a line where the output is no terminal."""
        with opened(url, data, config_file) as letters:
            _print_list(letters, limit, after, "all" if every else "open")

    @group.command(epilog="Example: streamgauge dead-letters show 0:12:3")
    @plain_errors
    def show(
        name: Annotated[str, typer.Argument(help="A name, as `list` shows it.")],
        *,
        url: Url = None,
        data: Data = None,
        config_file: Config = None,
    ) -> None:
        """Show one: why it failed, and the event."""
        read_name(name)
        with opened(url, data, config_file) as letters:
            _print_letter(letters.find(name))

    @group.command(epilog="Example: streamgauge dead-letters replay --all")
    @plain_errors
    def replay(
        names: Names = None,
        *,
        every: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
        event: Annotated[
            str | None, typer.Option(help="JSON to send in place of the only one's event.")
        ] = None,
        url: Url = None,
        data: Data = None,
        config_file: Config = None,
    ) -> None:
        """Send them again; each counts once, however often it is sent."""
        wanted = _wanted(names, every=every)
        if event is not None:
            wanted["event"] = _object(event)
        with opened(url, data, config_file) as letters:
            _print_replayed(letters.replay(wanted))

    @group.command(epilog="Example: streamgauge dead-letters discard 0:12:3 0:12:4")
    @plain_errors
    def discard(
        names: Names = None,
        *,
        every: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
        url: Url = None,
        data: Data = None,
        config_file: Config = None,
    ) -> None:
        """Mark them as dealt with."""
        wanted = _wanted(names, every=every)
        with opened(url, data, config_file) as letters:
            print(f"{letters.discard(wanted):,} discarded")

    cli.add_typer(group)


def _wanted(names: list[str] | None, *, every: bool) -> dict[str, Any]:
    if every == bool(names):
        raise StreamgaugeError("dead-letters: give names, or --all")
    for name in names or ():
        read_name(name)
    return {"all": True} if every else {"names": names}


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as exc:
        raise StreamgaugeError(f"--event: expected a JSON object: {exc}") from exc


def _print_list(letters: Letters, limit: int, after: str | None, state: str) -> None:
    found: list[LetterAbout] = []
    total = 0
    while len(found) < limit:
        page = letters.page(min(MOST, limit - len(found)), after, state)
        found += page.dead_letters
        total, after = page.open, page.next
        if after is None:
            break
    if not sys.stdout.isatty():
        sys.stdout.writelines(msgspec.json.encode(one).decode() + "\n" for one in found)
        return
    table = Table("name", "when", "source", "stage", "reason", "event", header_style="bold", box=None)
    for one in found:
        table.add_row(one.name, _time(one.at), one.source, one.stage, one.reason[:200], one.preview)
    Console().print(table)
    print(f"{total:,} open" + (f"; more with --after {after}" if after else ""))


def _print_letter(letter: Letter) -> None:
    for label, text in (
        ("name", letter.name),
        ("state", letter.state),
        ("failed", _time(letter.at)),
        ("arrived", f"{_time(letter.received_at)} from {letter.source}"),
        ("stage", letter.stage),
        ("reason", letter.reason),
    ):
        print(f"{label:8} {text}")
    if letter.traceback:
        print(letter.traceback.rstrip())
    print(bytes(letter.event).decode(errors="replace"))


def _print_replayed(outcome: Replayed) -> None:
    print(
        f"{outcome.replayed:,} sent again, {outcome.duplicates:,} had been before, {outcome.rejected:,} rejected"
    )
    for error in outcome.errors:
        print(f"  {error.name}: {error.error}")
    for name in outcome.missing:
        print(f"  {name}: there is no such letter")


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
