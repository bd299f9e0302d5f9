//! Load, limits, time and failure: what is held back, given up, cut, ended.

mod deadlines;
mod ending;
mod gone;
mod hangs;
mod load;
mod panics;
mod slow_reader;
