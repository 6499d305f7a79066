"""What a file in configs/ may say: found, read, checked, and every mistake reported at once with its place."""

from vidctl.spec.loading import check, find, load, load_all, locate, names, overlays, warnings
from vidctl.spec.mistake import Mistake
from vidctl.spec.model import EndpointSpec, Gpu, Image, Local, RegistryAuth, Scaling, Smoke, Timeouts, Workers
from vidctl.spec.project import ProjectSettings, check_settings, settings_of
from vidctl.spec.schema import json_schema, overlay_schema

__all__ = [
    "EndpointSpec",
    "Gpu",
    "Image",
    "Local",
    "Mistake",
    "ProjectSettings",
    "RegistryAuth",
    "Scaling",
    "Smoke",
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
    "warnings",
]
