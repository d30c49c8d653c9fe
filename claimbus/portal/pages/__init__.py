"""The web pages: what UAAs and operators have open all day. They are made here, and work without scripts."""
