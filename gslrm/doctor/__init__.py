"""What this machine can do, and what a configuration will ask of it or of a card."""

from gslrm.doctor.advice import Advice, Suggestion, advise
from gslrm.doctor.estimate import SHOWN, Estimate, estimate, estimate_reconstruction
from gslrm.doctor.finding import Finding
from gslrm.doctor.machine import examine_machine
from gslrm.doctor.report import describe, describe_reconstruction, recommend
from gslrm.doctor.target import Target, card, this_machine

__all__ = [
    "SHOWN",
    "Advice",
    "Estimate",
    "Finding",
    "Suggestion",
    "Target",
    "advise",
    "card",
    "describe",
    "describe_reconstruction",
    "estimate",
    "estimate_reconstruction",
    "examine_machine",
    "recommend",
    "this_machine",
]
