"""Certificates for a test, made by OpenSSL's program."""

import shutil
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl")


class Authority:
    """Signs certificates for 127.0.0.1, as a server's or a client's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._run("req", "-x509", *self._new_key("ca"), "-days", "2", "-subj", "/CN=test authority", "-out", "ca.pem")
        self.certificate = self._text("ca.pem")

    def issue(self, name: str) -> tuple[str, str]:
        """A key and its certificate, in PEM."""
        extensions = self._folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._run("req", *self._new_key(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
        self._run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "2"),
            *("-days", "2", "-extfile", str(extensions), "-out", f"{name}.pem"),
        )
        return self._text(f"{name}.key"), self._text(f"{name}.pem")

    @staticmethod
    def _new_key(name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]

    def _run(self, *arguments: str) -> None:
        assert OPENSSL is not None
        subprocess.run([OPENSSL, *arguments], cwd=self._folder, check=True, capture_output=True)

    def _text(self, name: str) -> str:
        return (self._folder / name).read_text()


def ssl_config(key: str, certificate: str, authority: str = "") -> str:
    """An SSLConfig in text format; with an authority, clients need a certificate of it."""
    fields = [("server_key", key), ("server_cert", certificate)]
    if authority:
        fields.append(("custom_ca", authority))
    lines = ["{}: '{}'".format(name, text.replace("\n", "\\n")) for name, text in fields]
    return "\n".join([*lines, "client_verify: true" if authority else ""])
