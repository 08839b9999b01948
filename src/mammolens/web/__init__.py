"""The web application: Flask, server-rendered, on the hospital's own machine.

Needs the extra ``[web]``. Start with ``mammolens serve``; `mammolens.web.app.create_app` makes the WSGI application.
"""
