"""Model versions: signatures, import with proof of parity, and the runtimes that answer."""
