//! Client library of A2E.
