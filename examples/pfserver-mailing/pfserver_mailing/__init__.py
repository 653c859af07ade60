"""Mailings for pfserver: a data source for address books, and a backend that makes messages from their records."""
