"""How each profile spells its outputs. Their readers expect it so."""

from collections.abc import Mapping
from typing import Any, Final

KEY_ID: Final = "api_key_id"
PLAN_ID: Final = "usage_plan_id"
CAMEL: Final = ("tokyo", "virginia")
"""Profiles whose readers expect camelCase; virginia speaks both."""
SNAKE: Final = ("london", "montreal", "virginia", "frankfurt")


def spellings(name: str, profile: str) -> list[str]:
    """How *profile* spells *name*; a profile of one's own as most do."""
    camel = [camel_case(name)] if profile in CAMEL else []
    snake = [name] if profile in SNAKE or not camel else []
    return list(dict.fromkeys(camel + snake))


def camel_case(name: str) -> str:
    """`vpc_id` is `vpcId`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def said(outputs: Mapping[str, Any], name: str) -> str:
    """The output *name*, however the profile spells it; empty where there is none."""
    plain = name.replace("_", "").lower()
    return next((str(value) for spelt, value in outputs.items() if spelt.replace("_", "").lower() == plain), "")
