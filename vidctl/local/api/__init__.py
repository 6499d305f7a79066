"""The job API for callers and the worker API for workers, with RunPod's rate limits."""
