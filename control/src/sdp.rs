//! Session descriptions: read, changed and written without loss (RFC 8866, RFC 3264).
