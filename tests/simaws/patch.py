"""How moto is corrected: operations it lacks are added to its responses, what it does wrong is wrapped."""

import functools
from collections.abc import Callable
from typing import Any


def add(kind: type, *operations: Callable[..., Any]) -> None:
    """Give *kind* these operations; moto finds an operation by its method's name."""
    for operation in operations:
        setattr(kind, operation.__name__, operation)


def around(kind: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What *kind* does under *name* goes through the function below, which gets the original first."""
    original = getattr(kind, name)

    def replace(changed: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def method(*given: Any, **named: Any) -> Any:
            return changed(original, *given, **named)

        setattr(kind, name, method)
        return changed

    return replace
