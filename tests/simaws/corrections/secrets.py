"""Secrets Manager: the rotation of a secret that a service manages can be cancelled; it has no Lambda of ours."""

from typing import Any

from moto.secretsmanager.models import SecretsManagerBackend

from simaws.patch import around


def correct() -> None:
    @around(SecretsManagerBackend, "cancel_rotate_secret")
    def cancel(original: Any, backend: Any, secret_id: str) -> Any:
        secret = backend.secrets[secret_id]
        if secret.rotation_lambda_arn:
            return original(backend, secret_id)
        secret.rotation_enabled, secret.auto_rotate_after_days = False, 0
        return secret.to_short_dict()
