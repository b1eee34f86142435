//! Which function serves a request, and which procedure.
