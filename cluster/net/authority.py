"""The cluster's authority, the nodes' certificates, the datagram key: made once, kept if good (X1, X2)."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.errors import EnvironmentFault, RemoteProtocolError
from cluster.identity import NodeId, Role
from cluster.net.files import (
    PUBLIC_MODE,
    SECRET_MODE,
    make_directory,
    read_file,
    read_secret,
    replace_file,
)
from cluster.net.reactor import utc
from cluster.net.tls import Identity, identity_of, load_keyring
from cluster.wire.keyring import KEY_BYTES, Keyring

AUTHORITY_KEY = "authority.key"
AUTHORITY = "authority.pem"
NODE_KEY = "node.key"
NODE = "node.pem"

AUTHORITY_LIFE = timedelta(days=3653)
NODE_LIFE = timedelta(days=731)
BACKDATED = timedelta(days=1)
"""A node whose clock is behind must be able to use a new certificate."""
RENEW_BEFORE = timedelta(days=60)
"""A certificate that ends sooner is issued again."""


def create_authority(directory: Path, cluster: str, *, at: datetime | None = None) -> None:
    """Make `authority.key` and `authority.pem`; a pair that is there and fits the cluster is kept.

    Raises:
        EnvironmentFault: another cluster's authority is there, or the directory can't be written.
    """
    at = at or utc()
    make_directory(directory)
    if (directory / AUTHORITY).exists():
        _load_authority(directory, cluster)
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = _authority_name(cluster)
    certificate = (
        _builder(name, name, key.public_key(), at, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(directory / AUTHORITY_KEY, _pem_of_key(key), SECRET_MODE)
    _write(directory / AUTHORITY, _pem(certificate), PUBLIC_MODE)


def issue(
    authority_directory: Path,
    cluster: str,
    node: NodeId,
    role: Role,
    directory: Path,
    *,
    at: datetime | None = None,
) -> None:
    """Make `node.key`, `node.pem` and a copy of `authority.pem`; a good pair that is there is kept.

    A certificate of another authority, node or role, or one that ends soon, is replaced, with a new key.

    Raises:
        EnvironmentFault: there is no such authority, or the directory can't be written.
    """
    at = at or utc()
    key, authority = _load_authority(authority_directory, cluster)
    make_directory(directory)
    identity = Identity(cluster, role, node)
    if not _is_good(directory, identity, authority, at):
        own = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{role.value} {node}")])
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(name, authority.subject, own.public_key(), at, NODE_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.to_uri())]),
                critical=True,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        # The key comes first: a crash between the two leaves a pair that does not fit and is made again.
        _write(directory / NODE_KEY, _pem_of_key(own), SECRET_MODE)
        _write(directory / NODE, _pem(certificate), PUBLIC_MODE)
    copy = directory / AUTHORITY
    if not copy.exists() or copy.read_bytes() != _pem(authority):
        _write(copy, _pem(authority), PUBLIC_MODE)


def create_key_file(path: Path) -> None:
    """Make a datagram key file of one new key; a good one that is there is kept.

    Raises:
        EnvironmentFault, ConfigError: what is there is not good, or can't be written.
    """
    make_directory(path.parent)
    if path.exists():
        load_keyring(path)
        return
    _write(path, Keyring.generate(secrets.token_bytes(KEY_BYTES)).to_text().encode(), SECRET_MODE)


def _load_authority(directory: Path, cluster: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    path = directory / AUTHORITY
    try:
        authority = x509.load_pem_x509_certificate(read_file(path, "authority's certificate"))
        key = serialization.load_pem_private_key(
            read_secret(directory / AUTHORITY_KEY, "authority's private key"), None
        )
    except (ValueError, TypeError) as error:
        raise EnvironmentFault(
            f"{directory}: the authority's files are damaged; restore them, or remove both and issue every "
            f"node's certificate again"
        ) from error
    if authority.subject != _authority_name(cluster):
        raise EnvironmentFault(
            f"{path}: another cluster's authority, not that of {cluster}; use another directory"
        )
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != authority.public_key():
        raise EnvironmentFault(
            f"{directory}: {AUTHORITY_KEY} does not belong to {AUTHORITY}; restore the pair"
        )
    return key, authority


def _is_good(directory: Path, identity: Identity, authority: x509.Certificate, at: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate((directory / NODE).read_bytes())
        key = serialization.load_pem_private_key((directory / NODE_KEY).read_bytes(), None)
        certificate.verify_directly_issued_by(authority)
        named = identity_of(certificate)
    except (OSError, RemoteProtocolError):
        return False
    except Exception:  # noqa: BLE001  (whatever is wrong with what is there: it is replaced)
        return False
    return (
        named == identity
        and key.public_key() == certificate.public_key()
        and certificate.not_valid_before_utc <= at
        and at + RENEW_BEFORE < certificate.not_valid_after_utc
    )


def _authority_name(cluster: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "javacluster"),
            x509.NameAttribute(NameOID.COMMON_NAME, cluster),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    at: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - BACKDATED)
        .not_valid_after(at + life)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        replace_file(path, data, mode)
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be written: {error.strerror}") from error
