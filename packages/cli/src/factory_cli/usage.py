"""`factory usage`: what was used, and what it cost."""

import sys
from datetime import datetime
from time import time
from typing import Annotated, Literal

import typer

from factory_cli.console import HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.ink import say_document, say_lines, width
from factory_cli.turns import reading

By = Literal["turn", "scope", "user", "agent", "model", "day"]

_WIDE = 80


def usage(
    by: Annotated[By, typer.Option("--by", help="What is added up.")] = "day",
    since: Annotated[
        datetime | None, typer.Option("--since", metavar="DATE", formats=["%Y-%m-%d"], help="From this day on (UTC).")
    ] = None,
    is_chart: Annotated[
        bool | None, typer.Option("--chart/--no-chart", help="Bars for the days (else: on a terminal).")
    ] = None,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """What was used, what it cost, and how budgets stand.

    What nobody knows the cost of is unknown; budgets count the most it may have cost, which is shown as assumed.
    """
    with told():
        from factory_cli import accounts, history, keeping

        where, environment = surroundings(home)
        configuration = keeping.known(where)
        sums = accounts.Sums(by, since.date() if since is not None else None)
        books = reading(
            where,
            lambda url: history.through(where, url, lambda bus: accounts.gather(bus, sums, configuration.budgets)),
        )
        standings = books.accounts(time())
    if is_json:
        say_document(
            {
                "by": by,
                "since": None if sums.since is None else sums.since.isoformat(),
                "rows": [{by: name, **total.as_json()} for name, total in sums.ordered],
                "total": sums.total.as_json(),
                "budgets": [account.as_json() for account in standings],
            }
        )
        return
    is_color = sys.stdout.isatty() and not environment.is_plain
    if not sums.rows:
        typer.echo("no model was asked yet" if since is None else f"no model was asked since {sums.since}", err=True)
    else:
        say_table(accounts.table(sums))
        if sys.stdout.isatty() if is_chart is None else is_chart:
            typer.echo()
            say_lines(accounts.chart(sums.days, width() or _WIDE), is_color=is_color)
        typer.echo()
    say_lines(accounts.standings(standings), is_color=is_color)
