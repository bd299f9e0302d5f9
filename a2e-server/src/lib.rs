//! The program `a2e` as a library.
