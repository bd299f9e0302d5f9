//! Capabilities of A2E, one folder each.
