"""TLS of the gRPC port, from `--ssl_config_file`."""

import ssl
import tempfile
from pathlib import Path

import grpc

from wsgiapp.errors import SettingsError
from wsgiapp.modelserver import text_configs


def read(path: Path) -> grpc.ServerCredentials:
    """The credentials of an SSLConfig, whose fields hold the keys and certificates themselves, in PEM.

    Raises `SettingsError` for what does not parse, or a key and a certificate that are no pair: gRPC itself would take
    them, and then fail each handshake without an error in the log.
    """
    config = text_configs.read("SSLConfig", path)
    _check_pair(path, config.server_key, config.server_cert)
    if config.client_verify and not config.custom_ca:
        raise SettingsError(f"{path}: client_verify needs custom_ca, the authority whose clients are let in")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _check_pair(path: Path, key: str, certificate: str) -> None:
    for name, text in (("server_key", key), ("server_cert", certificate)):
        if not text:
            raise SettingsError(f"{path}: {name} is missing; it holds the text of the PEM file, not its name")
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # only the owner can read it
        file.write(f"{key}\n{certificate}\n")
        file.flush()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as exc:
            raise SettingsError(f"{path}: server_key and server_cert are no pair in PEM: {exc}") from exc
