"""How a deployment speaks to whoever runs it: on standard error, so that standard output is the result alone."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from penstock.errors import Misconfigured, Rejected
from penstock.infra.terraforming import Change, Hear, Plan

VERBS: Final = {"create": "make", "update": "change", "replace": "make anew", "delete": "remove"}
NAMED: Final = ("update", "replace")
NAMED_MAX: Final = 40
"""What stands and is touched is named one by one, up to so many."""
EVERY: Final = 25
"""Steps between two lines where nobody sees a bar."""


class Step(Protocol):
    """Told when *done* more are done; *what* is at work."""

    def __call__(self, done: int, what: str = "") -> None: ...


class Console:
    """Says, asks and shows. Without *ask*, yes is taken for granted."""

    def __init__(self, *, ask: bool) -> None:
        self._ask = ask
        self._rich = Rich(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def check(self) -> None:
        """Raises Misconfigured where nobody could answer."""
        if self._ask and not sys.stdin.isatty():
            raise Misconfigured("--yes", "it would ask, and there is nobody to answer", "add --yes")

    def say(self, text: str) -> None:
        """One thing."""
        self._rich.print(text)

    def confirm(self, question: str) -> None:
        """Raises Rejected unless the answer is yes."""
        if not self._ask:
            return
        self._rich.print(f"{question} [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Rejected("nothing was done, as you said")

    def ask(self, question: str, otherwise: Misconfigured) -> str:
        """The answer, not shown while it is typed. Raises *otherwise* where nobody may be asked."""
        if not self._ask:
            raise otherwise
        return self._rich.input(f"{question}: ", password=True).strip()

    def show(self, plan: Plan) -> None:
        """What *plan* does: how much of each room it makes or removes, and what it touches by name."""
        for action, verb in VERBS.items():
            touched = [change for change in plan.changes if change.action == action]
            if touched:
                rooms = Counter(change.room for change in touched)
                listed = ", ".join(f"{room} {count}" for room, count in sorted(rooms.items()))
                self.say(f"{verb} {len(touched)}: {listed}")
            if action in NAMED:
                self._name(touched)
        if not plan.changes:
            self.say("nothing to change")

    def _name(self, touched: Sequence[Change]) -> None:
        for change in touched[:NAMED_MAX]:
            self.say(f"  {change.address}")
        if len(touched) > NAMED_MAX:
            self.say(f"  and {len(touched) - NAMED_MAX} more")

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Step]:
        """Progress of long work: a bar for people, a line now and then for logs."""
        if not self._rich.is_terminal:
            yield self._lines(title, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}"),
        )
        with Progress(*columns, console=self._rich, transient=True) as shown:
            task = shown.add_task(title, total=total, what="")

            def step(done: int, what: str = "") -> None:
                shown.update(task, advance=done, what=what)

            yield step

    def _lines(self, title: str, total: int) -> Step:
        count = 0

        def step(done: int, what: str = "") -> None:  # noqa: ARG001  # a log names no step
            nonlocal count
            count, before = count + done, count
            if done and (count // EVERY > before // EVERY or count == total):
                self.say(f"{title}: {count} of {total}")

        return step


def steps(step: Step) -> Hear:
    """Terraform's events as steps of a bar."""

    def hear(event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "apply_start":
                step(0, event["hook"]["resource"]["addr"])
            case "apply_complete":
                step(1, event["hook"]["resource"]["addr"])
            case "apply_errored":
                step(0, f"{event['hook']['resource']['addr']} failed")

    return hear
