"""EFS: a file system's policy can be deleted."""

from typing import Any

from moto.efs.responses import EFSResponse

from simaws.patch import add


def correct() -> None:
    add(EFSResponse, delete_file_system_policy)


def delete_file_system_policy(response: Any) -> str:
    identifier = response.path.split("/file-systems/")[1].split("/")[0]
    response.efs_backend.file_systems_by_id[identifier].file_system_policy = None
    return "{}"
