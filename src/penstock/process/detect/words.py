"""How numbers and spans of time are said to an operator."""

_SPANS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))


def number(value: float, unit: str | None = None) -> str:
    """Six significant digits, and the unit where there is one."""
    return f"{value:.6g} {unit}" if unit else f"{value:.6g}"


def span(seconds: float) -> str:
    """`25 s`, `12 min`, `7 h`, `41 days`: the largest unit of which there are at least two."""
    for size, name in _SPANS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.3g} s"
