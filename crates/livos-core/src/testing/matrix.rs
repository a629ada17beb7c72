//! How much of a long test matrix is run.

/// The environment variable that scales the matrices.
const VARIABLE: &str = "LIVOS_MATRIX";
/// The part of a matrix that every test run plays: one in this many.
const PART: u64 = 5;

/// How many rounds of a matrix to run that has `whole` of them: a fifth by default, so that a test
/// run takes minutes; all with `LIVOS_MATRIX=full`, and `n` times as many with `LIVOS_MATRIX=n`.
///
/// # Panics
///
/// If the variable is neither `full` nor a number.
pub fn matrix(whole: u64) -> u64 {
    scaled(whole, std::env::var(VARIABLE).ok().as_deref())
}

fn scaled(whole: u64, asked: Option<&str>) -> u64 {
    match asked {
        None => whole.div_ceil(PART),
        Some("full") => whole,
        Some(times) => {
            let times: u64 = times.parse().unwrap_or_else(|_| panic!("{VARIABLE} is `full` or a number"));
            whole * times
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_run_unless_more_is_asked_for() {
        assert_eq!((scaled(300, None), scaled(3, None)), (60, 1));
        assert_eq!((scaled(300, Some("full")), scaled(300, Some("10"))), (300, 3000));
    }
}
