//! Talking to a running job from outside, and looking after many of them.
//!
//! A running job listens at a local socket. A client writes one request, a line of JSON, and reads the answers to it,
//! a line each: [`protocol`] has their forms, [`client`] asks, [`socket`] listens.
//!
//! The control plane runs jobs as processes of their own. One direction of flow:
//!
//! ```text
//! api ──submission──> registry <──replace── supervisor ──spawn, signal──> processes
//!        (checked)       │                      │  ↑
//!                        └──────── jobs ────────┘  └─ lifecycle: what is wanted and seen → state and step
//! ```
//!
//! Requests change only the registry; the supervisor makes it come true. What a running job is to become (another shape, another
//! file, a replay) is a new version of it, and [`change`] brings the job there.

pub mod api;
pub mod change;
mod checkpoints;
pub mod client;
pub mod files;
pub mod folders;
pub mod lifecycle;
pub mod listener;
pub mod logs;
pub mod protocol;
pub mod registry;
pub mod remote;
pub mod server;
pub mod socket;
pub mod status;
pub mod submission;
pub mod supervisor;
