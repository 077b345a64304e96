"""Mutual TLS 1.3 under the cluster's own authority, and the identity in a certificate (X2).

A certificate names a node by a URI, `javacluster://CLUSTER/ROLE/ID`; host names play no part.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import crypto

from twisted.internet.ssl import Certificate as TrustedCertificate
from twisted.internet.ssl import CertificateOptions, TLSVersion, trustRootFromCertificates

from cluster.config import TlsFiles
from cluster.errors import ConfigError, EnvironmentFault, RemoteProtocolError
from cluster.identity import NodeId, Role
from cluster.net.files import read_file, read_secret
from cluster.wire.keyring import Keyring

SCHEME = "javacluster"


@attrs.frozen
class Identity:
    """Whom a certificate names."""

    cluster: str
    role: Role
    node: NodeId

    def to_uri(self) -> str:
        """The subject alternative name."""
        return f"{SCHEME}://{self.cluster}/{self.role.value}/{self.node}"


def identity_of(certificate: x509.Certificate) -> Identity:
    """Read whom a certificate names; whether to believe it is the TLS handshake's affair.

    Raises:
        RemoteProtocolError: it does not name exactly one node of a cluster.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise RemoteProtocolError("certificate", "it names no node") from error
    if len(uris) != 1:
        raise RemoteProtocolError("certificate", f"it names {len(uris)} nodes")
    try:
        parts = urlsplit(uris[0])
        _, role, node = parts.path.split("/")
        identity = Identity(parts.netloc, Role(role), NodeId(int(node)))
    except ValueError as error:
        raise RemoteProtocolError("certificate", "its name is not a node's") from error
    if identity.to_uri() != uris[0]:
        raise RemoteProtocolError("certificate", "its name is not a node's")
    return identity


def require_identity(files: TlsFiles, own: Identity) -> None:
    """Refuse to start with somebody else's certificate: every peer would refuse it, in far less clear words.

    Raises:
        EnvironmentFault: the certificate can't be read, or names another node.
    """
    try:
        found = identity_of(_certificate(Path(files.certificate), "node's certificate"))
    except RemoteProtocolError as error:
        raise EnvironmentFault(f"{files.certificate}: names no node; {_AGAIN}") from error
    if found != own:
        raise EnvironmentFault(
            f"{files.certificate}: is that of {found.to_uri()}, and this node is {own.to_uri()}; {_AGAIN}"
        )


def contexts(files: TlsFiles) -> CertificateOptions:
    """What both ends of our channels use: TLS 1.3, our certificate, and the peer's under our authority.

    Raises:
        EnvironmentFault: a file can't be read, is open to others, or does not fit the others.
    """
    authority = _certificate(Path(files.authority), "authority's certificate")
    certificate = _certificate(Path(files.certificate), "node's certificate")
    key_path = Path(files.key)
    try:
        key = load_pem_private_key(read_secret(key_path, "node's private key"), None)
    except (ValueError, TypeError) as error:
        raise EnvironmentFault(f"{key_path}: no private key in PEM form; {_AGAIN}") from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise EnvironmentFault(f"{key_path}: does not belong to {files.certificate}; {_AGAIN}")
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception as error:
        raise EnvironmentFault(f"{files.certificate}: not issued by {files.authority}; {_AGAIN}") from error
    return CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),
        certificate=crypto.X509.from_cryptography(certificate),
        trustRoot=trustRootFromCertificates([TrustedCertificate(crypto.X509.from_cryptography(authority))]),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )


def certificate_ends(files: TlsFiles) -> float:
    """When the node's certificate ends, in seconds of Unix time.

    Raises:
        EnvironmentFault: it can't be read.
    """
    return _certificate(Path(files.certificate), "node's certificate").not_valid_after_utc.timestamp()


def load_keyring(path: Path) -> Keyring:
    """Read the cluster's datagram keys (X1).

    Raises:
        EnvironmentFault: the file can't be read, or is open to others.
        ConfigError: it is not a key file.
    """
    raw = read_secret(path, "cluster key")
    try:
        return Keyring.from_text(raw.decode("ascii", "replace"))
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {problem}" for problem in error.problems)) from error


_AGAIN = "issue it again with `javacluster init`"


def _certificate(path: Path, what: str) -> x509.Certificate:
    raw = read_file(path, what)
    try:
        return x509.load_pem_x509_certificate(raw)
    except ValueError as error:
        raise EnvironmentFault(f"{path}: no certificate in PEM form; {_AGAIN}") from error
