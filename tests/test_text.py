"""Which names are secret, and what people may see."""

from __future__ import annotations

import pytest

from vidctl.text import is_secret_name, is_secret_value, one_line, reason, without_secrets


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "hfToken", "RUNPOD_API_KEY", "apikey", "DB_PASSWORD", "MYSECRET", "AWS_SECRET_ACCESS_KEY", "AUTH",
     "X-Amz-Signature", "PGPASSWD", "GITHUB_PAT", "SSH_PASSPHRASE", "GOOGLE_CREDENTIALS", "JWT",
     "SLACK_WEBHOOK", "SENTRY_DSN",
     "MYKEY", "DBPASS", "OAUTH", "BASICAUTH", "PASSWORDS", "API_TOKENS", "SSHKEYS"],
)  # fmt: skip
def test_names_of_secrets(name):
    """Whatever their style."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["MAX_TOKENS", "TOKENIZER", "MONKEY", "AUTHOR", "KEYBOARD", "COMPASS", "PATH"])
def test_names_of_none(name):
    """A word that only begins like one."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value",
    ["postgres://app:pw@db/app", "https://key@sentry.io/1", "https://hooks.example/x?sig=1", "Server=db;Password=pw",
     "api_key=abc", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "-----BEGIN RSA PRIVATE KEY-----", "hf_abcdefgh12",
     "sk-proj-abcdefgh", "AKIAIOSFODNN7EXAMPLE"],
)  # fmt: skip
def test_values_that_hold_secrets(value):
    """A user or a query of a URL, a password of a connection string, a key by how it begins."""
    assert is_secret_value(value)


@pytest.mark.parametrize(
    "value",
    ["yolo11m.pt", "Qwen/Qwen3-VL-8B-Instruct", "https://example.org/models/a.pt", "0.9", "--max-model-len=8192",
     "user@example.org", "passwordless", "s3://bucket/weights", "task-force", "desk-job-abcdefgh"],
)  # fmt: skip
def test_values_of_none(value):
    assert not is_secret_value(value)


def test_urls_without_their_secrets():
    """A presigned URL's query is its key."""
    url = "https://user:pw@example.org:8443/a%20b.jpg?X-Amz-Signature=abc&x=1#part"

    assert "https://example.org:8443/a%20b.jpg?***" == without_secrets(url)
    assert "ftp://example.org/a.jpg" == without_secrets("ftp://user:pw@example.org/a.jpg")
    assert "frames/a?b.jpg" == without_secrets("frames/a?b.jpg")


def test_a_name_forges_no_line():
    """A line's end in a file's name, or what a terminal obeys."""
    assert "a b\N{REPLACEMENT CHARACTER}[31m" == one_line("a\nb\x1b[31m")
    assert ("a  b ", "a b") == (one_line("a \nb "), one_line("a \nb ", 3))
    assert ["abc", "ab…"] == [one_line(text, 3) for text in ("abc", "abcd")]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("out of memory", "out of memory"),
        ({"message": "no model", "code": 404}, "no model"),
        ({"error": {"message": "no model"}}, "no model"),
        ([{"error": "a"}, {"error": "b"}], "a; b"),
        ('{"error_type": "<class \'ValueError\'>", "error_message": "bad"}', "ValueError: bad"),
        ("Error code: 400 - {'error': {'message': \"it's too long\", 'param': None, 'code': 400}}",
         "Error code: 400: it's too long"),
        ("{'object': 'error', 'message': 'too long', 'code': 400}", "too long"),
        ("IndexError: [1, 2] is {3}", "IndexError: [1, 2] is {3}"),
        ("{'a': open('x')}", "{'a': open('x')}"),
        ({"code": 7}, '{"code": 7}'),
        ("two\nlines", "two lines"),
        ("{" * 30_000, "{" * 30_000),
    ],
)  # fmt: skip
def test_an_error_is_the_sentence_in_it(told, said):
    """However it is wrapped: worker-vllm hands on Python's form of an object."""
    assert reason(told) == said
