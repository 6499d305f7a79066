"""What a file in configs/ may say: found, read, checked, and every mistake reported at once with its place."""

from vidctl.spec.gpu import Gpu
from vidctl.spec.loader import check, find, load, load_all, locate, names, overlays, warnings
from vidctl.spec.model import EndpointSpec, Image, Local, RegistryAuth, Scaling, Timeouts, Workers
from vidctl.spec.problem import SpecProblem
from vidctl.spec.project import ProjectSettings, check_settings, settings_of, settings_problem
from vidctl.spec.schema import json_schema, overlay_schema, settings_schema

__all__ = [
    "EndpointSpec",
    "Gpu",
    "Image",
    "Local",
    "ProjectSettings",
    "RegistryAuth",
    "Scaling",
    "Smoke",
    "SpecProblem",
    "Timeouts",
    "Workers",
    "check",
    "check_settings",
    "find",
    "json_schema",
    "load",
    "load_all",
    "locate",
    "names",
    "overlay_schema",
    "overlays",
    "settings_of",
    "settings_problem",
    "settings_schema",
    "warnings",
]
