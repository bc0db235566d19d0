"""Evidence: the methods of this package against the strongest references, under the protocol in `protocol.md`."""
