//! What an operator does with a host that runs: look, reload, rebuild; and how it heals itself.

mod breakers;
mod client_resume;
mod interceptors;
mod operators;
mod reload;
mod steady_load;
