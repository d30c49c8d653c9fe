"""What people may do at the portal, each thing once: the HTTP API and the web pages both come here.

A desk's function is given the portal's services and who asks, and judges by itself whether that is open to
them. It knows neither HTTP nor HTML.
"""
