//! Tables of a fixed width, as lines.

use ratatui::{
    style::Stylize,
    text::{Line, Span},
};

/// A column: its heading, how wide it is, and at which side its cells are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    heading: &'static str,
    width: usize,
    right: bool,
}

impl Column {
    /// Of words.
    pub(super) const fn left(heading: &'static str, width: usize) -> Self {
        Self {
            heading,
            width,
            right: false,
        }
    }

    /// Of numbers.
    pub(super) const fn right(heading: &'static str, width: usize) -> Self {
        Self {
            heading,
            width,
            right: true,
        }
    }

    /// A cell that is too long is cut, and shows where: of words the middle is missing, as names differ at their ends.
    fn cell(&self, mut cell: Span<'static>) -> Span<'static> {
        let width = self.width;
        let text: Vec<char> = cell.content.chars().collect();
        let missing = (text.len() + 1).saturating_sub(width);
        let text: String = match (text.len() <= width, self.right) {
            (true, _) => text.iter().collect(),
            (false, true) => text[..width - 1].iter().chain(['…'].iter()).collect(),
            (false, false) => {
                let (start, end) = text.split_at(width / 2);
                start
                    .iter()
                    .chain(['…'].iter())
                    .chain(&end[missing..])
                    .collect()
            }
        };
        cell.content = match self.right {
            true => format!("{text:>width$}  "),
            false => format!("{text:<width$}  "),
        }
        .into();
        cell
    }
}

/// Rows under their headings.
pub(super) fn table(
    columns: &[Column],
    rows: impl Iterator<Item = Vec<Span<'static>>>,
) -> Vec<Line<'static>> {
    let headings = columns.iter().map(|column| column.heading.into());
    let mut lines = vec![line(columns, headings).bold()];
    lines.extend(rows.map(|row| line(columns, row.into_iter())));
    lines
}

fn line(columns: &[Column], cells: impl Iterator<Item = Span<'static>>) -> Line<'static> {
    let cells = columns.iter().zip(cells);
    let cells = cells.map(|(column, cell)| column.cell(cell));
    Line::from(cells.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_as_wide_as_their_column() {
        let columns = [Column::left("NAME", 6), Column::right("N", 3)];
        let rows = [["short", "7"], ["too long", "1234"], ["größer", "1"]];
        let rows = rows.map(|row| row.map(Span::from).to_vec());
        let lines = table(&columns, rows.into_iter());
        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        let expected = [
            "NAME      N  ",
            "short     7  ",
            "too…ng  12…  ",
            "größer    1  ",
        ];
        assert_eq!(lines, expected);
    }
}
