"""What every room of the stack has: the description, and names."""

from constructs import Construct

from penstock.infra.description import Deployment


class Station(Construct):
    """One room: it makes what belongs together, takes plain values, and reads no environment."""

    def __init__(self, scope: Construct, ident: str, deployment: Deployment) -> None:
        super().__init__(scope, ident)
        self.deployment = deployment
        self.names = deployment.names

    def called(self, resource: str, kind: str) -> dict[str, str]:
        """The tag that the console shows as a name."""
        return {"Name": self.names(resource, kind)}
