// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Work on all cores, in order
//!
//! What has to be done in order, such as reading, and digests over everything, is done while all cores work on what can be
//! done in any.

use crate::error::Result;

/// Gets items, works on each on all cores, and takes the results in order. Getting and taking is on this thread, for the item
/// after and the item before the one that is worked on.
pub(crate) fn run<T: Send + Sync, U: Send>(
    mut get: impl FnMut() -> Result<Option<T>>,
    work: impl Fn(&T) -> Result<U> + Sync,
    mut take: impl FnMut(T, U) -> Result<()>,
) -> Result<()> {
    let mut next = get()?;
    let mut before = None;
    while next.is_some() || before.is_some() {
        let current = next.take();
        let mut done = None;
        next = rayon::in_place_scope(|scope| {
            if let Some(current) = &current {
                scope.spawn(|_| done = Some(work(current)));
            }
            if let Some((item, result)) = before.take() {
                take(item, result)?;
            }
            get()
        })?;
        before = current.zip(done.transpose()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn run_to(end: u32, bad: u32) -> (Vec<(u32, u32)>, bool) {
        let (mut at, mut out) = (0, Vec::new());
        let get = || {
            at += 1;
            Ok((at <= end).then_some(at))
        };
        let work = |n: &u32| if *n == bad { Err(Error::damaged("bad")) } else { Ok(n * n) };
        let take = |n, square| {
            out.push((n, square));
            Ok(())
        };
        let ok = run(get, work, take).is_ok();
        (out, ok)
    }

    #[test]
    fn results_are_taken_in_order() {
        let (out, ok) = run_to(9, 0);
        assert!(ok && out == (1..=9).map(|n| (n, n * n)).collect::<Vec<_>>(), "{out:?}");
        assert_eq!(run_to(0, 0), (vec![], true));
        assert_eq!(run_to(1, 0), (vec![(1, 1)], true));
    }

    #[test]
    fn the_first_error_ends_it() {
        let (out, ok) = run_to(9, 4);
        assert!(!ok && out.iter().all(|(n, _)| *n < 4), "{out:?}");
    }
}
