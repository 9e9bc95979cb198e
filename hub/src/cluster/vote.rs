//! What several servers say about one thing, when some are slow and some know only how it was.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};

use super::registry_error::RegistryError;

/// How long those that are slower than the first may take.
const GRACE: Duration = Duration::from_millis(250);

/// Asks all at once; gives what most of those said that answered in time. Of equally many the earlier wins.
///
/// # Errors
/// What the last one said, when nobody answered.
pub(super) async fn majority<T>(
    questions: impl IntoIterator<Item = impl Future<Output = Result<T, RegistryError>>>,
    same: impl Fn(&T, &T) -> bool,
) -> Result<T, RegistryError> {
    let mut open: FuturesUnordered<_> = questions.into_iter().collect();
    let mut error = RegistryError::Unreachable("no redis is known to ask".to_owned());
    let mut answers: Vec<T> = Vec::new();
    while answers.is_empty() {
        match open.next().await {
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(e)) => error = e,
            None => return Err(error),
        }
    }
    let rest = async {
        while let Some(answer) = open.next().await {
            answers.extend(answer);
        }
    };
    // Whoever did not answer by then has no vote.
    let _ = tokio::time::timeout(GRACE, rest).await;
    most_common(answers, same).ok_or(error)
}

fn most_common<T>(answers: Vec<T>, same: impl Fn(&T, &T) -> bool) -> Option<T> {
    let votes = |answer: &T| answers.iter().filter(|other| same(other, answer)).count();
    let mut best: Option<(usize, usize)> = None;
    for (place, answer) in answers.iter().enumerate() {
        let count = votes(answer);
        if best.is_none_or(|(most, _)| count > most) {
            best = Some((count, place));
        }
    }
    let (_, place) = best?;
    answers.into_iter().nth(place)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn most_votes_win_and_the_earlier_of_equals() {
        assert_eq!(most_common::<u8>(vec![], u8::eq), None);
        assert_eq!(most_common(vec![3, 1, 2, 1], u8::eq), Some(1));
        assert_eq!(most_common(vec![2, 1, 1, 2], u8::eq), Some(2));
    }

    #[tokio::test]
    async fn the_silent_and_the_failing_do_not_hold_up_the_others() {
        let failed = || RegistryError::Other("no".to_owned());
        let silent = std::future::pending::<Result<u8, RegistryError>>();
        let asked = vec![silent.boxed(), async { Err(failed()) }.boxed(), async { Ok(7) }.boxed()];
        assert_eq!(majority(asked, u8::eq).await, Ok(7));
        let nobody = vec![async { Err::<u8, _>(failed()) }.boxed()];
        assert_eq!(majority(nobody, u8::eq).await, Err(failed()));
    }
}
