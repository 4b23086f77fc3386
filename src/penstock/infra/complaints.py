"""What Terraform gives up with, said as an error of ours that names the mend."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import Misconfigured, PenstockError, Unavailable
from penstock.infra.answers import SIGN_IN

TOLD_MAX: Final = 5
"""Of a hundred complaints the first few say it all."""
LENGTH_MAX: Final = 600


class Known(NamedTuple):
    """A complaint that has a mend."""

    pattern: str
    setting: str
    """What to look at; empty: nothing to set, only to do again."""
    why: str
    mend: str


KNOWN: Final = (
    Known(
        r"[Ss]aved plan is stale",
        "",
        "somebody else deployed since this was planned",
        "run it again, and read the new plan",
    ),
    Known(
        r"query available provider packages|install provider|could not connect to registry",
        "",
        "Terraform's AWS provider cannot be downloaded",
        "see that this machine reaches registry.terraform.io, or name a mirror in ~/.terraformrc; then run it again",
    ),
    Known(
        r"[Bb]ackend configuration|[Bb]ackend initialization required|[Bb]ackend type changed",
        "state",
        "the stack's folder remembers another place of its state",
        "terraform -chdir={folder} init -migrate-state",
    ),
    Known(
        r"S3 bucket .* does not exist|NoSuchBucket",
        "state",
        "its bucket does not exist",
        "make it first, as docs/deploy.md says under State",
    ),
    Known(r"ExpiredToken|RequestExpired|token.* expired", "aws", "the login to AWS has expired", SIGN_IN),
    Known(
        r"No valid credential sources|InvalidClientTokenId|failed to get shared config profile",
        "aws",
        "Terraform finds no login to AWS that is known there",
        SIGN_IN,
    ),
    Known(
        r"AccessDenied|UnauthorizedOperation|not authorized to perform",
        "aws",
        "this login may not do all that the plant needs",
        "have it allowed, then run it again: it goes on from there",
    ),
    Known(
        r"LimitExceeded|QuotaExceeded|limit has been reached|quota",
        "aws",
        "the account's quota is used up",
        "ask for more in Service Quotas, or remove what is not needed; then run it again",
    ),
    Known(
        r"BucketNotEmpty",
        "",
        "the archive got more while it went",
        "the same command again: its writers are gone by now",
    ),
    Known(
        r"AlreadyExists|already exists|EntityAlreadyExists|BucketAlreadyOwnedByYou",
        "suffix",
        "something of this name stands that this state does not know",
        "another --suffix; or remove it, or `terraform -chdir={folder} import` it",
    ),
)
LOCK: Final = re.compile(r"acquiring the state lock", re.IGNORECASE)
LOCK_FIELD: Final = r"^\W*{name}: +(.+?)\s*$"


def complaint(word: str, told: Sequence[str], folder: Path) -> PenstockError:
    """What `terraform WORD` gave up with in *folder*; *told* is what it complained of."""
    text = "\n".join(told)
    if LOCK.search(text):
        return _locked(text, folder)
    said = _shortened(word, told)
    for known in KNOWN:
        if re.search(known.pattern, text):
            return _named(known, said, folder)
    return Unavailable(f"{said}\nMend: as it says, then run it again: it goes on from there")


def _named(known: Known, said: str, folder: Path) -> PenstockError:
    mend = known.mend.format(folder=folder)
    if known.setting:
        return Misconfigured(known.setting, known.why, f"{mend}\n{said}")
    return Unavailable(f"{known.why}. Mend: {mend}\n{said}")


def _locked(text: str, folder: Path) -> PenstockError:
    ident, who, created = (_field(text, name) for name in ("ID", "Who", "Created"))
    return Unavailable(
        f"the state is locked by {who} since {created}: somebody deploys, or a deploy was cut off. Mend: wait until "
        f"it has ended; if none is alive any more, terraform -chdir={folder} force-unlock {ident}"
    )


def _field(text: str, name: str) -> str:
    """What Terraform tells of a lock under *name*."""
    found = re.search(LOCK_FIELD.format(name=name), text, re.MULTILINE)
    return found[1] if found else "?"


def _shortened(word: str, told: Sequence[str]) -> str:
    lines = "".join(f"\n  {one[:LENGTH_MAX]}" for one in dict.fromkeys(told[:TOLD_MAX]))
    more = f"\n  and {len(told) - TOLD_MAX} more" if len(told) > TOLD_MAX else ""
    return f"terraform {word} failed:{lines}{more}"
