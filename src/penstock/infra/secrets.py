"""Credentials that change by themselves: made where nobody sees them, held by nobody but Secrets Manager."""

import json
from typing import Any, Final

from cdktn import TerraformStack
from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.keys import USE, Keys
from penstock.infra.network import Network
from penstock.infra.policy import Statement, allow, document, never, trust
from penstock.infra.ports import POSTGRESQL
from penstock.infra.rotation import AUTHORITIES, ROTATION_FILE, RUNTIME
from penstock.infra.station import Station
from penstock.infra.store import DATABASE, Store
from penstock.infra.telemetry import Logs
from penstock.infra.terraform import aws

FIRST_USER: Final = "penstock_a"
PASSWORD_LENGTH: Final = 40
RANDOM: Final = "ephemeral.aws_secretsmanager_random_password"
HANDLER: Final = "penstock.secrets.rotation.handler.rotate"
TIMEOUT_S: Final = 60
MEMORY_MB: Final = 256
AT_ONCE: Final = 2
FORTNIGHT_S: Final = 14 * 86_400
ENTER: Final = "ec2:CreateNetworkInterface"
LEAVE: Final = "ec2:DeleteNetworkInterface"
STAND: Final = ("ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")
SEE: Final = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")
"""What Lambda needs to put a function into a network, keep it there, and take it out."""


class Secrets(Station):
    """The tasks' login to PostgreSQL, the doors' signing key, and the function that turns the login over."""

    def __init__(  # noqa: PLR0913, PLR0917  # it stands between all of them
        self,
        scope: Construct,
        deployment: Deployment,
        network: Network,
        keys: Keys,
        store: Store,
        logs: Logs,
        *,
        rotate_now: bool,
    ) -> None:
        super().__init__(scope, "secrets", deployment)
        self._keys, self._store = keys, store
        self.login = self._secret("login", "The tasks' login to PostgreSQL", self._login_text())
        self.signing = self._secret("signing", "Signs keys that doors remember in Redis", _random("signing"))
        self.dead_letters = self._dead_letters()
        self.function = self._function(network, logs)
        self._rotate(rotate_now=rotate_now)

    def environment(self) -> dict[str, str]:
        """Where the tasks find their login: a reference, never the thing."""
        return {"PENSTOCK_STORE__URL": f"{self._store.url}&credentials=secret://{self.login.arn}"}

    def environment_of_doors(self) -> dict[str, str]:
        """What doors are told besides."""
        return {"PENSTOCK_DOOR__CACHE_SECRET": f"secret://{self.signing.arn}"}

    def reads(self) -> Statement:
        """May read the login."""
        return allow(["secretsmanager:GetSecretValue"], self.login.arn)

    def signs(self) -> Statement:
        """May read the signing key."""
        return allow(["secretsmanager:GetSecretValue"], self.signing.arn)

    def _login_text(self) -> str:
        login = {
            "engine": "postgres",
            "host": self._store.host,
            "port": POSTGRESQL,
            "dbname": DATABASE,
            "username": FIRST_USER,
            "password": _random("login"),
        }
        return json.dumps(login)

    def _secret(self, name: str, why: str, text: str) -> Any:
        """Made by Terraform without passing through its state: the password is ephemeral, the argument write-only."""
        secret = aws.secretsmanager_secret(
            self,
            name,
            name=self.names(name, "secret"),
            description=why,
            kms_key_id=self._keys.data.arn,
            recovery_window_in_days=self.deployment.secrets.recovery_days,
            tags=self.called(name, "secret"),
        )
        TerraformStack.of(self).add_override(
            f"{RANDOM}.{name}", {"password_length": PASSWORD_LENGTH, "exclude_punctuation": True}
        )
        aws.secretsmanager_secret_version(
            self, f"{name}-first", secret_id=secret.id, secret_string_wo=text, secret_string_wo_version=1
        )
        return secret

    def _dead_letters(self) -> Any:
        return aws.sqs_queue(
            self,
            "dead-letters",
            name=self.names("rotation", "queue"),
            kms_master_key_id=self._keys.data.key_id,
            message_retention_seconds=FORTNIGHT_S,
            tags=self.called("rotation", "queue"),
        )

    def _function(self, network: Network, logs: Logs) -> Any:
        name = self.names("rotation", "function")
        role = aws.iam_role(
            self,
            "rotation-role",
            name=self.names("rotation", "role"),
            assume_role_policy=trust("lambda", self._keys.account),
        )
        group = logs.exported(f"/aws/lambda/{name}", "rotation")
        statements = [*self._rights(group), *self._stands(name, network)]
        rights = aws.iam_role_policy(self, "rotation-policy", name="rotate", role=role.id, policy=document(*statements))
        return aws.lambda_function(
            self,
            "rotation",
            function_name=name,
            description="Turns the tasks' login over, one of two users at a time",
            role=role.arn,
            runtime=RUNTIME,
            architectures=["x86_64"],
            handler=HANDLER,
            filename=ROTATION_FILE,
            source_code_hash=f'${{filebase64sha256("{ROTATION_FILE}")}}',
            timeout=TIMEOUT_S,
            memory_size=MEMORY_MB,
            reserved_concurrent_executions=AT_ONCE,
            kms_key_arn=self._keys.data.arn,
            environment={"variables": self._place()},
            dead_letter_config={"target_arn": self.dead_letters.arn},
            tracing_config={"mode": "Active"},
            vpc_config={
                "subnet_ids": network.private_ids,
                "security_group_ids": [network.groups["rotation"].id],
            },
            tags=self.called("rotation", "function"),
            depends_on=[group, rights],
        )

    def _place(self) -> dict[str, str]:
        """Where the function turns the login over, and by whose right."""
        authorities = f"sslmode=verify-full&sslrootcert=/var/task/{AUTHORITIES}"
        return {
            "PENSTOCK_ROTATION_DATABASE": f"postgresql://{self._store.host}:{POSTGRESQL}/{DATABASE}?{authorities}",
            "PENSTOCK_ROTATION_ADMIN": self._store.master_secret,
        }

    def _rights(self, group: Any) -> list[Statement]:
        """Its own secret to change, the master's to read, and what every function needs to live.

        The key is not bound to services, since Lambda opens the function's environment with this role, too.
        """
        change = [
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecretVersionStage",
        ]
        return [
            allow(change, self.login.arn),
            allow(["secretsmanager:GetSecretValue"], self._store.master_secret),
            allow(USE, self._keys.data.arn),
            allow(["sqs:SendMessage"], self.dead_letters.arn),
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], f"{group.arn}:log-stream:*"),
            allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
        ]

    def _stands(self, function: str, network: Network) -> list[Statement]:
        """Lambda puts the function into the private subnets by this role; the function's own code may not.

        Before there is an interface to name, Lambda asks whether the role may delete any: AWS documents `*/*` for it.
        """
        region, account = self.deployment.region, self._keys.account
        any_interface = f"arn:aws:ec2:{region}:{account}:network-interface/*"
        subnets = [subnet.arn for subnet in network.private]
        code = {"lambda:SourceFunctionArn": f"arn:aws:lambda:{region}:{account}:function:{function}"}
        return [
            allow([ENTER], *subnets, network.groups["rotation"].arn, any_interface),
            allow([LEAVE], f"arn:aws:ec2:{region}:{account}:*/*"),
            allow(STAND, any_interface),
            allow(SEE, "*"),
            never([ENTER, LEAVE, *STAND, *SEE], "*", ArnEquals=code),
        ]

    def _rotate(self, *, rotate_now: bool) -> None:
        """The first turn makes both users: until then the login is a name that PostgreSQL does not know."""
        invoked = aws.lambda_permission(
            self,
            "rotation-invoked",
            statement_id="SecretsManager",
            action="lambda:InvokeFunction",
            function_name=self.function.function_name,
            principal="secretsmanager.amazonaws.com",
            source_arn=self.login.arn,
            source_account=self._keys.account,
        )
        aws.secretsmanager_secret_rotation(
            self,
            "rotation-schedule",
            secret_id=self.login.id,
            rotation_lambda_arn=self.function.arn,
            rotation_rules={"automatically_after_days": self.deployment.secrets.rotation_days},
            rotate_immediately=rotate_now,
            depends_on=[invoked, *self._store.instances],
        )


def _random(name: str) -> str:
    return f"${{{RANDOM}.{name}.random_password}}"
