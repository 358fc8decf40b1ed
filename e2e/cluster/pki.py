"""A certificate authority of the cluster's own, by openssl: server and client certificates, kubeconfig files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from process import run

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
DAYS = "3650"


class Authority:
    """The files of one authority in one folder; whatever exists is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"

    def create(self) -> None:
        """Make the authority and the key pair that signs service account tokens."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.certificate.exists():
            run("openssl", "req", "-x509", *CURVE, "-days", DAYS, "-subj", "/CN=distillery-e2e-ca",
                "-keyout", self._key, "-out", self.certificate)  # fmt: skip
        private, public = self.folder / "sa.key", self.folder / "sa.pub"
        if not public.exists():
            run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
            run("openssl", "ec", "-in", private, "-pubout", "-out", public)

    def issue(self, name: str, subject: str, addresses: Sequence[str] = ()) -> tuple[Path, Path]:
        """Return certificate and key `name` for a subject ('/O=group/CN=user') and, for servers, its SAN entries."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if certificate.exists():
            return certificate, key
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        lines = ["extendedKeyUsage=clientAuth,serverAuth", "basicConstraints=CA:FALSE"]
        if addresses:
            lines.append("subjectAltName=" + ",".join(addresses))
        extensions.write_text("\n".join(lines) + "\n")
        run("openssl", "req", "-new", *CURVE, "-subj", subject, "-keyout", key, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
            "-CAcreateserial", "-days", DAYS, "-extfile", extensions, "-out", certificate)  # fmt: skip
        request.unlink()
        extensions.unlink()
        return certificate, key

    def kubeconfig(self, path: Path, server: str, name: str, subject: str) -> Path:
        """Write a kubeconfig for a user of the cluster and return its path."""
        certificate, key = self.issue(name, subject)
        path.write_text(
            KUBECONFIG.format(server=server, ca=self.certificate, certificate=certificate, key=key)
        )
        path.chmod(0o600)
        return path


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: distillery-e2e
contexts: [{{name: distillery-e2e, context: {{cluster: distillery-e2e, user: user}}}}]
clusters: [{{name: distillery-e2e, cluster: {{server: "{server}", certificate-authority: {ca}}}}}]
users: [{{name: user, user: {{client-certificate: {certificate}, client-key: {key}}}}}]
"""
