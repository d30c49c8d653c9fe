"""``claimbus access``: who may use the portal: tokens, client certificates, and whose certificates count."""

from claimbus.cli.access import authorities, certificates, tokens
from claimbus.cli.options import group

app = group("Who may use the portal: tokens, client certificates, authorities.")
app.add_typer(tokens.app, name="tokens")
app.add_typer(certificates.app, name="certificates")
app.add_typer(authorities.app, name="authorities")
