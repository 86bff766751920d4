//! The terminal while `top` has it. Whatever ends the program, the terminal is given back as it was: at the end of a scope, by a
//! panic, or by a signal, which only asks for the end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The terminal, drawn on as a whole.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    asked_to_end: Arc<AtomicBool>,
}

/// What a user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The end.
    Quit,
    /// Back to where this was chosen.
    Back,
    /// So many lines down, or up.
    Move(i16),
    /// What is chosen.
    Open,
    /// The terminal has another size.
    Redraw,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn take() -> io::Result<Self> {
        let asked_to_end = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, asked_to_end.clone())?;
        }
        // A panic restores the terminal before it says anything: `try_init` sees to that.
        let terminal = ratatui::try_init()?;
        Ok(Self {
            terminal,
            asked_to_end,
        })
    }

    /// Draws.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// What the user wants, if it is said within this time.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(super) fn wish(&self, patience: Duration) -> io::Result<Option<Wish>> {
        if self.asked_to_end.load(Ordering::Relaxed) {
            return Ok(Some(Wish::Quit));
        }
        match event::poll(patience) {
            Ok(true) => Ok(wish(&event::read()?)),
            Ok(false) => Ok(None),
            // A signal: it is looked at next time.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What an event means.
fn wish(event: &Event) -> Option<Wish> {
    let key = match event {
        Event::Resize(..) => return Some(Wish::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('q') => Wish::Quit,
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Wish::Back,
        KeyCode::Enter | KeyCode::Right => Wish::Open,
        KeyCode::Down | KeyCode::Char('j') => Wish::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Wish::Move(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Wish::Move(10),
        KeyCode::PageUp => Wish::Move(-10),
        KeyCode::Home => Wish::Move(i16::MIN),
        KeyCode::End => Wish::Move(i16::MAX),
        _ => return None,
    })
}
