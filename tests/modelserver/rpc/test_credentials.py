"""SSLConfig files, right and wrong."""

from pathlib import Path

import grpc
import pytest

from support.certificates import OPENSSL, Authority, ssl_config
from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.rpc import credentials

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl program to make certificates with")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_a_right_one(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "ssl.config"
    path.write_text(ssl_config(*authority.issue("server"), authority.certificate))
    assert isinstance(credentials.read(path), grpc.ServerCredentials)


def test_wrong_ones(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "ssl.config"
    (key, certificate), (other, _) = authority.issue("server"), authority.issue("other")
    for text, message in (
        ("server_key", "Error parsing text-format tensorflow.serving.SSLConfig"),
        ("nosuch: 1", 'no field named "nosuch"'),
        (ssl_config("", certificate), "server_key is missing"),
        (ssl_config(key, ""), "server_cert is missing"),
        (ssl_config("server.key", "server.pem"), "are no pair in PEM"),
        (ssl_config(other, certificate), "are no pair in PEM"),
        (ssl_config(key, certificate) + "client_verify: true", "client_verify needs custom_ca"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError) as caught:
            credentials.read(path)
        assert message in str(caught.value), text
    with pytest.raises(SettingsError, match="nowhere"):
        credentials.read(tmp_path / "nowhere")
