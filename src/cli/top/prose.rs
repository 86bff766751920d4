//! Sentences that are longer than a line.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

/// A line as so many as it takes, each at most `width` wide: broken between words, and within one only if it has no room of its own.
/// Those behind the first are indented.
pub(super) fn wrapped(line: Line<'static>, width: usize, indent: usize) -> Vec<Line<'static>> {
    let style = line.style;
    let styled = |span: Span<'static>| {
        let of_span = span.style;
        let chars: Vec<char> = span.content.chars().collect();
        chars.into_iter().map(move |char| (char, of_span))
    };
    let mut rest: Vec<(char, Style)> = line.spans.into_iter().flat_map(styled).collect();
    let mut lines = Vec::new();
    loop {
        // Where there is hardly any room, none is left free.
        let before = if lines.is_empty() || width <= indent * 2 {
            0
        } else {
            indent
        };
        let room = (width - before.min(width)).max(1);
        if rest.len() <= room {
            lines.push(joined(before, &rest).style(style));
            return lines;
        }
        // The blank itself may stand behind the end; a first line is not broken within what the others are indented by.
        let kept = if lines.is_empty() { indent } else { 0 };
        let blank = rest[..=room].iter().rposition(|(char, _)| *char == ' ');
        let end = blank.filter(|end| *end > kept).unwrap_or(room);
        let next = rest.split_off(end);
        lines.push(joined(before, &rest).style(style));
        rest = next
            .into_iter()
            .skip_while(|(char, _)| *char == ' ')
            .collect();
    }
}

fn joined(before: usize, chars: &[(char, Style)]) -> Line<'static> {
    let mut spans = vec![Span::raw(" ".repeat(before))];
    for same in chars.chunk_by(|left, right| left.1 == right.1) {
        let text: String = same.iter().map(|(char, _)| char).collect();
        spans.push(Span::styled(text, same[0].1));
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use ratatui::style::Stylize;

    use super::*;

    fn texts(lines: &[Line<'static>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_stay_whole_and_keep_their_style() {
        let line = Line::from(vec!["unhealthy".red(), ": the store is down".into()]);
        assert_eq!(
            texts(&wrapped(line.clone(), 28, 2)),
            ["unhealthy: the store is down"]
        );
        let lines = wrapped(line, 16, 2);
        assert_eq!(texts(&lines), ["unhealthy: the", "  store is down"]);
        assert_eq!(lines[0].spans[1], "unhealthy".red());
        assert_eq!(lines[1].spans[1], Span::raw("store is down"));
    }

    #[test]
    fn nothing_is_lost_however_little_room_there_is() {
        let text = "a word, a longword and größer ones";
        for (width, indent) in [(0, 0), (1, 2), (3, 2), (5, 2), (9, 4), (100, 15)] {
            let lines = texts(&wrapped(Line::from(text), width, indent));
            let kept: String = lines.concat().split_whitespace().collect();
            assert_eq!(kept, text.replace(' ', ""), "{width}, {indent}");
            let widest = lines.iter().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width.max(1)), "{width}, {indent}: {lines:?}");
        }
    }
}
