//! Replays: into live stores, into shadows, from other positions; what tells them apart, and what sends a table again.

mod counts;
mod diff;
mod held;
mod positions;
mod resync;
mod shadow;
mod state;
