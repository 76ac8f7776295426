//! Which of two serving certificates is served.

use super::super::takeover::leaf_to_serve;
use super::super::x509::Leaf;
use super::*;

/// Two authorities, each with what it issued: the second state is what somebody put in place of the first.
struct Two {
    next: State,
    served: Leaf,
    old: Certificate,
    new: Certificate,
}

fn two() -> Two {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (before, mut next) = (start(&one, 0), start(&other, 0));
    let (old, new) = (before.authorities[0].clone(), next.authorities[0].certificate.clone());
    next.add(Authority { trusted_until: Some(second(3600)), ..old.clone() });
    Two { next, served: before.leaf.unwrap(), old: old.certificate, new }
}

/// Returns whether the served one stays.
fn stays(two: &Two, published: &[&Certificate], number: i64) -> bool {
    let names = names_with(&[]);
    let is_published = |authority: &Certificate| published.contains(&authority);
    let leaf = leaf_to_serve(&two.next, Some(&two.served), &plan(&names, &is_published), second(number)).unwrap();
    assert!(leaf == two.served || Some(&leaf) == two.next.leaf.as_ref());
    leaf == two.served
}

#[test]
fn what_is_served_stays_until_clients_accept_what_follows() {
    let two = two();
    assert!(stays(&two, &[], 0) && stays(&two, &[&two.old], 0));
    assert!(!stays(&two, &[&two.old, &two.new], 0));
}

#[test]
fn what_is_served_goes_when_its_authority_or_it_is_about_to_end() {
    let mut two = two();
    assert!(stays(&two, &[], 1799));
    assert!(!stays(&two, &[], 1800), "half of the time that the former one is trusted");
    two.next.authorities[1].trusted_until = None;
    assert!(stays(&two, &[], 340 * DAY));
    assert!(!stays(&two, &[], 350 * DAY + 1), "it is urgent");
    two.next.authorities.truncate(1);
    assert!(!stays(&two, &[], 0), "nobody trusts it any more");
}

#[test]
fn what_the_same_authority_issued_follows_at_once() {
    let dir = TempDir::new().unwrap();
    let before = start(&dir, 0);
    let next = look(dir.path(), &names_with(&["more.example"]), Some(&before), 0).unwrap();
    let authority = before.authorities[0].certificate.clone();
    let two = Two { next, served: before.leaf.unwrap(), old: authority.clone(), new: authority };
    assert_ne!(two.next.leaf.as_ref(), Some(&two.served));
    assert!(!stays(&two, &[], 0));
}

#[test]
fn where_nothing_is_served_there_is_nothing_to_wait_for() {
    let two = two();
    let names = names_with(&[]);
    let plan = plan(&names, &|_| false);
    assert_eq!(leaf_to_serve(&two.next, None, &plan, second(0)), two.next.leaf);
    assert_eq!(leaf_to_serve(&State::default(), Some(&two.served), &plan, second(0)), None);
}
