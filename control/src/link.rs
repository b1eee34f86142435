//! The ring pair to each worker, in methods that read like English.
