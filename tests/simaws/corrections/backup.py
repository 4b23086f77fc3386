"""AWS Backup: selections, recovery points (there never are any), and tags of what has a colon in its name."""

import json
import time
import uuid
from typing import Any
from urllib.parse import unquote

from moto.backup import urls
from moto.backup.exceptions import ResourceNotFoundException
from moto.backup.responses import BackupResponse

from simaws.patch import add

_selections: dict[tuple[str, str], dict[str, Any]] = {}
"""By plan and selection."""


def correct() -> None:
    add(
        BackupResponse,
        create_backup_selection,
        get_backup_selection,
        delete_backup_selection,
        list_recovery_points_by_backup_vault,
        list_tags,
    )
    for ending in ("$", "/$"):  # Terraform asks without the slash, botocore with it
        urls.url_paths["{0}/backup-vaults/(?P<name>[^/]+)/recovery-points" + ending] = urls.response.dispatch


def _plan(response: Any) -> str:
    plan: str = response.path.split("/plans/")[1].split("/")[0]
    return plan


def _selection(response: Any) -> tuple[str, str]:
    return _plan(response), response.path.rstrip("/").split("/")[-1]


def create_backup_selection(response: Any) -> str:
    plan, selection = _plan(response), str(uuid.uuid4())
    _selections[plan, selection] = json.loads(response.body)["BackupSelection"]
    return json.dumps({"BackupPlanId": plan, "SelectionId": selection, "CreationDate": time.time()})


def get_backup_selection(response: Any) -> str:
    plan, selection = _selection(response)
    if (plan, selection) not in _selections:
        raise ResourceNotFoundException("Cannot find Backup selection")
    return json.dumps({"BackupPlanId": plan, "SelectionId": selection, "BackupSelection": _selections[plan, selection]})


def delete_backup_selection(response: Any) -> str:
    _selections.pop(_selection(response), None)
    return "{}"


def list_recovery_points_by_backup_vault(response: Any) -> str:
    return json.dumps({"RecoveryPoints": []})


def list_tags(response: Any) -> str:
    """Moto takes the last but one part of the path, which is the ARN only where the path ends in a slash."""
    arn = unquote(response.path.split("/tags/", 1)[1]).rstrip("/")
    return json.dumps({"Tags": response.backup_backend.list_tags(resource_arn=arn)})
