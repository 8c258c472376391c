"""Who may ask: addresses that need a token, where a token comes from, and which header names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.serving.access import authorised, check_exposure, is_loopback, read_token
from recap.errors import ConfigError

TOKEN = "0123456789abcdefXY"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    check_exposure(host, "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "example.org", "127.0.0.1.example.org"])
def test_others_do(host: str) -> None:
    assert not is_loopback(host)
    check_exposure(host, TOKEN)
    with pytest.raises(ConfigError, match="without a token") as caught:
        check_exposure(host, "")
    assert "--token-file FILE" in caught.value.hint


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECAP_SERVE_TOKEN", raising=False)
    assert read_token(None) == ""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    monkeypatch.setenv("RECAP_SERVE_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    with pytest.raises(ConfigError, match="both given"):
        read_token(file)


@pytest.mark.parametrize("text", ["", "short", "with a space in it, and long", "ümlauts-are-not-ascii"])
def test_weak_tokens_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.delenv("RECAP_SERVE_TOKEN", raising=False)
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="--token-file"):
        read_token(file)
    monkeypatch.setenv("RECAP_SERVE_TOKEN", text)
    with pytest.raises(ConfigError, match="RECAP_SERVE_TOKEN: a token of"):
        read_token(None)


def test_a_token_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECAP_SERVE_TOKEN", raising=False)
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read it") as caught:
        read_token(file)
    assert caught.value.hint == f"chmod 600 {file}"
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "nowhere")


@pytest.mark.parametrize("header", [f"Api-Key {TOKEN}", f"Bearer {TOKEN}", f"bearer {TOKEN}"])
def test_a_header_with_the_token(header: str) -> None:
    assert authorised(header, TOKEN)


@pytest.mark.parametrize("header", [None, "", "Api-Key", TOKEN, f"Basic {TOKEN}", f"Api-Key {TOKEN}x", "Api-Key ü"])
def test_a_header_without_it(header: str | None) -> None:
    assert not authorised(header, TOKEN)
