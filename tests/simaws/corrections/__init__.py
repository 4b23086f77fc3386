"""What moto 5.2 gets wrong for Terraform's provider, one service a file.

Every correction has a test that fails on moto alone: when a newer moto is right by itself, that test says so, and the
correction goes.
"""

from importlib import import_module

SERVICES = (
    "apigateway",
    "autoscaling",
    "backup",
    "balancers",
    "codedeploy",
    "ec2",
    "ecs",
    "efs",
    "elasticache",
    "kinesis",
    "lambdas",
    "rds",
    "s3",
    "secrets",
)


def correct() -> None:
    """Set moto right, in this process, until it ends."""
    for service in SERVICES:
        import_module(f"simaws.corrections.{service}").correct()
