//! The packet path on one screen: parse, look up, rewrite, egress.
