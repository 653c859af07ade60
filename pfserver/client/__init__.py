"""Python clients of the three protocols, and the ``pfserver`` command that is built on them.

:mod:`pageflex <pfserver.client.pageflex>` is the Twisted client of the socket API, :mod:`blocking
<pfserver.client.blocking>` the same for programs without a reactor, :mod:`cli <pfserver.client.cli>` the command.
"""
