"""Transcribe speech."""
