"""One module a command of ``pfserver``; each is imported only when it is called."""
