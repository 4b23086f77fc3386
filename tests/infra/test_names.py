"""Names fit, and never meet."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.infra.names import LIMIT, LIMITS, Names, cut

WORDS = st.from_regex(r"[a-z][a-z0-9]{0,11}", fullmatch=True)
SUFFIXES = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)


def test_a_name_is_resource_type_environment_suffix() -> None:
    assert Names("tokyo", "prod", "main")("ingest", "role") == "tokyo-ingest-role-prod-main"
    assert Names("tokyo", "dev", "x1").logs("api") == "/penstock/tokyo-api-logs-dev-x1"


@given(WORDS, WORDS, SUFFIXES, st.sampled_from(["ingest-green", "archive", "link"]), st.sampled_from(sorted(LIMITS)))
def test_a_name_fits_its_service(profile: str, environment: str, suffix: str, resource: str, kind: str) -> None:
    name = Names(profile, environment, suffix)(resource, kind)
    assert len(name) <= LIMITS.get(kind, LIMIT)
    assert "--" not in name
    assert not name.endswith("-")


@given(st.lists(st.from_regex(r"[a-z0-9-]{1,60}", fullmatch=True), min_size=2, max_size=2, unique=True))
def test_names_that_differ_still_differ_when_cut(names: list[str]) -> None:
    assert cut(names[0], 32) != cut(names[1], 32)


@given(WORDS, SUFFIXES, SUFFIXES)
def test_deployments_beside_each_other_never_meet(profile: str, suffix: str, other: str) -> None:
    if suffix != other:
        for kind in LIMITS:
            assert Names(profile, "prod", suffix)("ingest-blue", kind) != Names(profile, "prod", other)(
                "ingest-blue", kind
            )
