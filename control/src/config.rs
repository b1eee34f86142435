//! Settings: read once, checked once, typed ever after.
