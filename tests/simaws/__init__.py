"""AWS on one machine, good enough that Terraform cannot tell: a moto server, and what moto gets wrong set right.

    with SimulatedAws(region="eu-west-2") as aws:
        aws.client("kinesis").list_streams()

or, beside what is tried, `PYTHONPATH=tests python -m simaws --port 5055`. Nothing acts here: no container starts, no
permission is enforced, no alarm goes off. What it answers is what AWS would have on record.
"""

from simaws.server import REGION, SimulatedAws

__all__ = ["REGION", "SimulatedAws"]
