"""What a file in configs/ may say: found, read, checked, and every mistake told at once with its place."""

from vidctl.spec.loading import check, find, load, names
from vidctl.spec.mistake import Mistake
from vidctl.spec.model import EndpointSpec, Gpu, Image, Local, RegistryAuth, Scaling, Smoke, Timeouts, Workers
from vidctl.spec.schema import json_schema

__all__ = [
    "EndpointSpec",
    "Gpu",
    "Image",
    "Local",
    "Mistake",
    "RegistryAuth",
    "Scaling",
    "Smoke",
    "Timeouts",
    "Workers",
    "check",
    "find",
    "json_schema",
    "load",
    "names",
]
