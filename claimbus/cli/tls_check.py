"""``claimbus tls-check``: what a TLS listener offers, shows and asks for, and whether that will do."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from cryptography import x509

from claimbus.cli.options import AsJson
from claimbus.cli.output import details, listing, print_json, say
from claimbus.cli.tls_probe import Look, Offer, Peer, look

NAMES: Final = {"TLSv1": "TLS 1.0", "TLSv1_1": "TLS 1.1", "TLSv1_2": "TLS 1.2", "TLSv1_3": "TLS 1.3"}


def tls_check(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Any TLS listener: HTTPS, AMQPS, Redis.")
    ],
    *,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trust these authorities only (PEM). Default: the system's."),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Our client certificate with its chain (PEM).")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, if not in the same file.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Ask for this name, and want it in the certificate. Default: HOST.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which TLS a listener speaks, and whom it trusts: its chain and authorities, days to expiry.

    Exits with 1 if it offers TLS 1.0 or 1.1, or nothing newer, if its chain is not to be trusted, or if it
    refuses the certificate that --cert shows.
    """
    host, port = _host_and_port(address)
    peer = Peer(host=_hostname(host), port=port, name=_hostname(name or host))
    seen = look(peer, ca_file=ca, certificate_file=cert, key_file=key)
    problems = list(_problems(seen, peer, shows=cert is not None))
    _show(seen, peer, problems, shows=cert is not None, as_json=as_json)
    if problems:
        raise typer.Exit(1)


def _problems(seen: Look, peer: Peer, *, shows: bool) -> Iterator[str]:
    old, new = seen.offers[:2], seen.offers[2:]
    if not any(one.offered for one in seen.offers):
        yield f"it accepts no version of TLS; does TLS speak there at all? ({new[-1].refusal})"
        return
    for one in old:
        if one.offered:
            yield f"it offers {_name(one)}: 1.2 or newer is required"
        elif one.offered is None:
            yield f"whether it offers {_name(one)} is not known: OpenSSL here cannot ask ({one.refusal})"
    if not any(one.offered for one in new):
        yield "it offers neither TLS 1.2 nor 1.3"
    elif seen.distrust is not None:
        yield f"its certificate is not to be trusted for {peer.name}: {seen.distrust}"
    elif shows and seen.refusal is not None:
        yield f"it refuses our certificate: {seen.refusal}"


def _show(seen: Look, peer: Peer, problems: list[str], *, shows: bool, as_json: bool) -> None:
    now = datetime.now(UTC)
    versions = [_version(one) for one in seen.offers]
    chain = [_certificate(one, now) for one in seen.chain]
    facts = {
        "peer": f"{peer.host}:{peer.port}",
        "name": peer.name,
        "names": _names(seen.chain[0]) if seen.chain else [],
        "trusted": _is_trusted(seen),
        "days_left": min((one["days_left"] for one in chain), default=None),
        "client_certificate": _client_certificate(seen, shows=shows),
        "accepted_authorities": list(seen.accepts or ()),
    }
    if as_json:
        print_json(facts | {"versions": versions, "chain": chain, "problems": problems})
        return
    listing(versions, ["version", "offered", "with"], as_json=False)
    if chain:
        listing(chain, ["subject", "issuer", "until", "days_left"], as_json=False)
    details(facts, as_json=False)
    for problem in problems:
        say(f"claimbus: {problem}")


def _is_trusted(seen: Look) -> bool:
    return seen.distrust is None and any(one.offered for one in seen.offers[2:])


def _client_certificate(seen: Look, *, shows: bool) -> str:
    if seen.accepts is None:
        return "not asked for"
    if not _is_trusted(seen):
        return "asked for"
    if shows:
        return "refused" if seen.refusal else "accepted"
    return "required" if seen.refusal else "optional"


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(one.value) for one in found]


def _version(one: Offer) -> dict[str, Any]:
    return {"version": _name(one), "offered": one.offered, "with": one.cipher or one.refusal}


def _certificate(one: x509.Certificate, now: datetime) -> dict[str, Any]:
    until = one.not_valid_after_utc
    return {
        "subject": one.subject.rfc4514_string(),
        "issuer": one.issuer.rfc4514_string(),
        "until": until,
        "days_left": (until - now).days,
    }


def _name(one: Offer) -> str:
    return NAMES[one.version.name]


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise typer.BadParameter(f"{address!r} is not HOST:PORT, such as bus.example:443 or [::1]:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _hostname(name: str) -> str:
    try:
        name.encode("idna")  # as the connection will
    except UnicodeError as wrong:
        raise typer.BadParameter(f"{name!r} is no host's name: {wrong}") from wrong
    return name
