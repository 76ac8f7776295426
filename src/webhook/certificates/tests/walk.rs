//! Walks through the years, and looks at each step whether a client that has not heard the latest still accepts.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::takeover::leaf_to_serve;
use super::*;

/// Several processes that share what is kept, and what was published.
struct World {
    kept: Contents,
    /// What each process has in force.
    in_force: Vec<Option<State>>,
    /// Who was trusted when.
    published: VecDeque<(i64, Vec<Certificate>)>,
    lifetimes: Lifetimes,
}

impl World {
    fn new(lifetimes: Lifetimes, processes: usize) -> Self {
        let in_force = vec![None; processes];
        Self { kept: Contents::new(), in_force, published: VecDeque::new(), lifetimes }
    }

    /// Has one process look, as the keeper does.
    fn look(&mut self, process: usize, number: i64) {
        let names = names(None, &[]).unwrap();
        let is_published = |authority: &Certificate| self.is_published(authority, number);
        let plan = Plan { names: &names, lifetimes: self.lifetimes, is_published: &is_published };
        let in_force = self.in_force[process].as_ref();
        let kept = State::read(&self.kept).unwrap();
        let next = advance(&kept, in_force, &plan, second(number)).unwrap();
        let leaf = leaf_to_serve(&next, in_force.and_then(|state| state.leaf.as_ref()), &plan, second(number));
        let in_force = State { leaf, ..next.clone() };
        assert_eq!(State::read(&next.contents()).unwrap(), next, "what is written is read back");
        for state in [&next, &in_force] {
            let again = advance(&next, Some(state), &plan, second(number)).unwrap();
            assert_eq!(again, next, "a second look changes nothing");
        }
        self.kept = next.contents();
        self.published.push_back((number, next.authorities.iter().map(|each| each.certificate.clone()).collect()));
        self.in_force[process] = Some(in_force);
    }

    /// Returns whether clients have been told of an authority for long enough.
    fn is_published(&self, authority: &Certificate, number: i64) -> bool {
        let is_told =
            |(at, told): &(i64, Vec<Certificate>)| *at + self.lifetimes.settle() <= number && told.contains(authority);
        self.published.iter().any(is_told)
    }

    /// Returns who a client trusts that heard the last news this long ago.
    fn trusted_by_late_client(&self, number: i64, delay: i64) -> &[Certificate] {
        let heard = self.published.iter().rev().find(|(at, _)| *at <= number - delay);
        &heard.unwrap_or(&self.published[0]).1
    }

    /// Checks that clients accept what every process serves.
    fn check(&self, number: i64, delay: i64) {
        for state in self.in_force.iter().flatten() {
            let leaf = state.leaf.as_ref().unwrap();
            let names = leaf.names();
            let accepts = |authority: &Certificate| leaf.is_accepted_by(authority, &names, second(number)).is_ok();
            for delay in [0, delay] {
                let trusted = self.trusted_by_late_client(number, delay);
                assert!(trusted.iter().any(accepts), "{delay} s late, after {number} s: {leaf:?} {trusted:?}");
            }
            assert!(leaf.certificate.ends > second(number));
        }
    }
}

#[test]
fn walks_forty_years_by_the_week() {
    let mut world = World::new(years(), 1);
    let (mut leaves, mut authorities) = (0, 0);
    let mut before: Option<State> = None;
    for number in (0..40 * 52).map(|week| week * 7 * DAY) {
        world.look(0, number);
        world.check(number, years().overlap);
        let state = world.in_force[0].clone().unwrap();
        if let Some(before) = before.filter(|before| served(before) != served(&state)) {
            leaves += 1;
            authorities += usize::from(accepted_by(&before, second(number)) != accepted_by(&state, second(number)));
        }
        assert!(state.authorities.len() <= 2);
        before = Some(state);
    }
    assert!((40..=50).contains(&leaves), "{leaves}");
    assert!((4..=10).contains(&authorities), "{authorities}");
}

#[test]
fn clients_accept_what_is_served_when_authority_and_certificate_are_replaced_by_hand() {
    for forgets in [false, true] {
        let mut world = World::new(years(), 2);
        world.look(0, 0);
        world.look(1, 0);
        let other = TempDir::new().unwrap();
        let put = look(other.path(), &names_with(&[]), None, 0).unwrap();
        let remembered = world.kept.remove("trusted.json").unwrap();
        world.kept = put.contents();
        world.kept.remove("trusted.json");
        if !forgets {
            world.kept.insert("trusted.json", remembered);
        }
        for number in 100..140 {
            for process in [0, 1] {
                world.look(process, number);
                world.check(number, 4);
            }
        }
        let after = world.in_force[0].clone().unwrap();
        assert_eq!((served(&after), after.authorities.len()), (served(&put), 2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn late_clients_accept_whatever_the_lifetimes(
        authority in 600_i64..100_000_000,
        leaf in 2_i64..50,
        overlap in 4_i64..40,
        steps in prop::collection::vec((1_i64..100, 0_usize..2), 60),
    ) {
        let lifetimes = Lifetimes::new(authority, authority * leaf / 100, Some(authority / overlap)).unwrap();
        let mut world = World::new(lifetimes, 2);
        // A look at least four times in an overlap and in the last part of a life, which has 30 days at most.
        let longest = (lifetimes.overlap / 4).min(lifetimes.leaf / 8).clamp(1, 7 * DAY);
        let mut number = 0;
        world.look(0, number);
        world.look(1, number);
        for (step, process) in steps.into_iter().cycle().take(120) {
            number += (longest * step / 100).max(1);
            world.look(process, number);
            // The other one looks a little later; what it serves meanwhile is still trusted.
            world.check(number, lifetimes.overlap - 2 * longest);
            world.look(1 - process, number);
            world.check(number, lifetimes.overlap - 2 * longest);
        }
    }
}
