"""Which names are secret, and what people may see."""

from __future__ import annotations

import pytest

from vidctl.text import is_secret_name, one_line, without_secrets


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "hfToken", "RUNPOD_API_KEY", "apikey", "DB_PASSWORD", "MYSECRET", "AWS_SECRET_ACCESS_KEY", "AUTH",
     "X-Amz-Signature", "PGPASSWD", "GITHUB_PAT", "SSH_PASSPHRASE", "GOOGLE_CREDENTIALS",
     "MYKEY", "DBPASS", "OAUTH", "BASICAUTH", "PASSWORDS", "API_TOKENS", "SSHKEYS"],
)  # fmt: skip
def test_names_of_secrets(name):
    """Whatever their style."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["MAX_TOKENS", "TOKENIZER", "MONKEY", "AUTHOR", "KEYBOARD", "COMPASS", "PATH"])
def test_names_of_none(name):
    """A word that only begins like one."""
    assert not is_secret_name(name)


def test_urls_without_their_secrets():
    """A presigned URL's query is its key."""
    url = "https://user:pw@example.org:8443/a%20b.jpg?X-Amz-Signature=abc&x=1#part"

    assert "https://example.org:8443/a%20b.jpg?***" == without_secrets(url)
    assert "ftp://example.org/a.jpg" == without_secrets("ftp://user:pw@example.org/a.jpg")
    assert "frames/a?b.jpg" == without_secrets("frames/a?b.jpg")


def test_a_name_forges_no_line():
    """A line's end in a file's name, or what a terminal obeys."""
    assert "a b\N{REPLACEMENT CHARACTER}[31m" == one_line("a\nb\x1b[31m")
