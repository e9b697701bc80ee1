"""The key and certificate of one start of a server, where c.JupyterHub.internal_ssl is on.

JupyterHub makes them with certipy, as files in the Hub's directory that are named after the user:
two servers of one user overwrite each other's, and a name of any shape becomes a path. Here they
are made in memory, with the authority of the Hub's servers that certipy keeps, and never written
down: elastichub puts them into a Secret.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

# The authority of the Hub's servers, and how long JupyterHub has their certificates last.
AUTHORITY = "notebooks-ca"
VALID = timedelta(days=5 * 365)
# How far clocks of nodes may be behind.
CLOCK_SKEW = timedelta(hours=1)


def make(certs_location, trust_bundle, alt_names):
    """What a start request has as `ssl`.

    certs_location is c.JupyterHub.internal_certs_location, trust_bundle the file with whom servers
    trust; alt_names are such as "DNS:localhost" and "IP:127.0.0.1". Raises OSError and ValueError:
    the authority's files, or a name, are not what they should be.
    """
    from certipy import Certipy
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    files = Certipy(store_dir=certs_location).store.get_record(AUTHORITY)["files"]
    authority = x509.load_pem_x509_certificate(Path(files["cert"]).read_bytes())
    signing = serialization.load_pem_private_key(Path(files["key"]).read_bytes(), None)
    if not isinstance(signing, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError(f"The key of {AUTHORITY} in {certs_location} is neither of RSA nor of an elliptic curve.")
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    usages = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elastichub notebook server")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([_alt_name(name) for name in alt_names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
        .sign(signing, hashes.SHA256())
    )
    return {
        "key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "cert": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "ca": Path(trust_bundle).read_text(),
    }


def of_host(host):
    """The alternative name for a host, which may be an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return f"DNS:{host}"
    return f"IP:{host}"


def _alt_name(text):
    from cryptography import x509

    kind, _, value = text.partition(":")
    if kind == "DNS":
        return x509.DNSName(value)
    if kind == "IP":
        return x509.IPAddress(ip_address(value))
    raise ValueError(f"{text!r} is neither DNS:name nor IP:address")
