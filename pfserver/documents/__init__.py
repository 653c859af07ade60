"""Office documents: what is asked of a conversion, where its document lies, and whether it is what its name says.

Used by the backends that convert, the front ends that take documents in and hand them out, and the factory.
"""
