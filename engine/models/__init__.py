"""Networks and the bundles they are kept in."""
