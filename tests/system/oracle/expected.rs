//! Results worked out by hand: oracle and engine share the SQL front end, these share nothing.
//!
//! A case is a table of input, SQL and a table of expected rows. Names of relations stand in braces. All cases of a kind
//! run in one job.

mod cases;
mod joins;
mod layers;
mod streams;
mod tables;
mod windows;
