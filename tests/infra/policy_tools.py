"""What two scanners of others say of policies. Run by a Python that has them; each wants versions that we do not.

    PYTHON policy_tools.py < {"NAME": {"kind": "role" | "trust" | "key" | "resource", "document": {…}}, …}

answers `[{"tool": …, "policy": NAME, "issue": …, "detail": …}, …]`. Nothing of Penstock is imported here.
"""

import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

SPLAINED = (
    "allows_privilege_escalation",
    "allows_data_exfiltration_actions",
    "credentials_exposure",
    "permissions_management_without_constraints",
    "write_actions_without_constraints",
    "tagging_actions_without_constraints",
    "service_wildcard",
    "contains_statement_using_not_action",
)


def main() -> None:
    warnings.simplefilter("ignore")
    parliament = importlib.import_module("parliament")
    splaining = importlib.import_module("cloudsplaining.scan.policy_document")
    found = [
        {"policy": name, "tool": tool, "issue": issue, "detail": detail}
        for name, one in json.load(sys.stdin).items()
        for tool, issue, detail in (
            *_parliament(parliament, one["document"], community=one["kind"] != "trust"),
            *(_cloudsplaining(splaining, one["document"]) if one["kind"] == "role" else ()),
        )
    ]
    json.dump(found, sys.stdout)


def _parliament(parliament: Any, document: dict[str, Any], *, community: bool) -> Iterator[tuple[str, str, str]]:
    """Its own auditors and, where asked, the community's: to them any role that can be taken on is a finding."""
    judged = parliament.analyze_policy_string(json.dumps(document), include_community_auditors=community)
    for one in judged.findings:
        yield "parliament", one.issue, str(one.detail or one.location)


def _cloudsplaining(splaining: Any, document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Statements with conditions are judged as if they had none."""
    judged = splaining.PolicyDocument(document, flag_conditional_statements=True)
    for issue in SPLAINED:
        for detail in _each(getattr(judged, issue)):
            yield "cloudsplaining", issue, str(detail)


def _each(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found] if found else []


if __name__ == "__main__":
    main()
