"""vidctl: from a YAML file to a RunPod Serverless GPU endpoint, and from a picture to an answer."""

__version__ = "0.1.0"
