"""A rendering factory: polls an Officeshots server for documents, renders them here, and brings the results back.

It is a peer of servers, ours or another's, and knows only what is on the wire. Run by ``pfserver factory``.
"""
