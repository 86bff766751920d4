//! Evaluation that isolates the rows that fail.

use arrow::record_batch::RecordBatch;

use super::Failure;

/// What became of a part of a batch. Parts come in the order of the rows.
pub(super) enum Piece<T> {
    /// The result of a part that succeeded.
    Good(T),
    /// A row that failed alone.
    Bad {
        /// Its position in the batch.
        row: usize,
        /// Which expression, and why.
        failure: Failure,
    },
}

/// Evaluates a batch; where that fails, its halves, down to single rows. An empty batch has no parts.
pub(super) fn by_halves<T>(
    rows: &RecordBatch,
    evaluate: &impl Fn(&RecordBatch) -> Result<T, Failure>,
) -> Vec<Piece<T>> {
    let mut pieces = Vec::with_capacity(1);
    // Depth is the logarithm of the batch's size.
    descend(rows, 0, evaluate, &mut pieces);
    pieces
}

fn descend<T>(
    rows: &RecordBatch,
    first_row: usize,
    evaluate: &impl Fn(&RecordBatch) -> Result<T, Failure>,
    pieces: &mut Vec<Piece<T>>,
) {
    let count = rows.num_rows();
    if count == 0 {
        return;
    }
    match evaluate(rows) {
        Ok(result) => pieces.push(Piece::Good(result)),
        Err(failure) if count == 1 => pieces.push(Piece::Bad {
            row: first_row,
            failure,
        }),
        Err(_) => {
            let half = count / 2;
            descend(&rows.slice(0, half), first_row, evaluate, pieces);
            descend(
                &rows.slice(half, count - half),
                first_row + half,
                evaluate,
                pieces,
            );
        }
    }
}
