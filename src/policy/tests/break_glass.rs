//! Break-glass: what its annotations say, and when they count.

use super::*;
use crate::policy::{BreakGlass, BreakGlassFault};

const NOW: &str = "2026-06-01T08:00:00Z";

fn glass(incident: &str, until: &str) -> NamespaceMeta {
    namespace(&[], &[("break-glass", incident), ("break-glass-until", until)])
}

#[test]
fn it_holds_from_now_until_its_end_and_at_most_four_hours_ahead() {
    let glass = glass("INC-123", "2026-06-01T12:00:00Z");
    let table = [
        ("2026-06-01T07:59:59Z", false),
        ("2026-06-01T08:00:00Z", true),
        ("2026-06-01T11:59:59.999Z", true),
        ("2026-06-01T12:00:00Z", false),
        ("2027-06-01T12:00:00Z", false),
    ];
    for (now, expected) in table {
        assert_eq!(BreakGlass::active(&glass, instant(now)).is_ok_and(|active| active.is_some()), expected, "{now}");
    }
    let held = BreakGlass::active(&glass, instant(NOW)).expect("whole").expect("there");
    assert_eq!(held.to_string(), "break-glass INC-123 until 2026-06-01T12:00:00Z");
    assert_eq!(BreakGlass::active(&namespace(&[], &[]), instant(NOW)), Ok(None));
}

#[test]
fn annotations_that_do_nothing_say_why() {
    let alone = |key: &str, value: &str| namespace(&[], &[(key, value)]);
    let table = [
        (alone("break-glass", "INC-1"), "does not count without gatepost.dev/break-glass-until"),
        (alone("break-glass-until", "2026-06-01T09:00:00Z"), "does not count without gatepost.dev/break-glass,"),
        (glass(" ", "2026-06-01T09:00:00Z"), "names no incident"),
        (glass("a\nb", "2026-06-01T09:00:00Z"), "not one line"),
        (glass(&"x".repeat(101), "2026-06-01T09:00:00Z"), "longer than 100"),
        (glass("INC-1", "2026-06-01"), "\"2026-06-01\" is not an RFC 3339 instant"),
        (glass("INC-1", "2026-06-01T09:00:00"), "is not an RFC 3339 instant"),
        (glass("INC-1", "2026-06-01T09Z"), "is not an RFC 3339 instant"),
        (glass("INC-1", "20260601T090000Z"), "is not an RFC 3339 instant"),
        (glass("INC-1", "2026-06-01T09:00:00+02:00[Europe/Berlin]"), "is not an RFC 3339 instant"),
        (glass("INC-1", "2h"), "is not an RFC 3339 instant"),
        (glass("INC-1", ""), "is not an RFC 3339 instant"),
        (glass("INC-1", "ééééééééééééé"), "is not an RFC 3339 instant"),
        (glass("INC-1", "2026-06-01T12:00:01Z"), "more than 4 hours ahead"),
        (glass("INC-1", "2026-06-01T08:00:00Z"), "is over"),
    ];
    for (meta, cause) in table {
        let fault = BreakGlass::active(&meta, instant(NOW)).expect_err("does nothing").to_string();
        assert!(fault.contains(cause), "{meta:?}: {fault}");
    }
    for readable in ["2026-06-01T09:00:00Z", "2026-06-01t09:00:00.25z", "2026-06-01T11:00:00+02:00"] {
        assert!(BreakGlass::active(&glass("INC-1", readable), instant(NOW)).is_ok(), "{readable}");
    }
}

#[test]
fn a_later_end_or_another_incident_is_a_new_use() {
    let (ten, eleven) = ("2026-06-01T10:00:00Z", "2026-06-01T11:00:00Z");
    let none = namespace(&[], &[]);
    let table = [
        (glass("A", ten), None, true, "made with it"),
        (glass("A", ten), Some(none.clone()), true, "begun"),
        (glass("A", ten), Some(glass("A", ten)), false, "as it was"),
        (glass("A", eleven), Some(glass("A", ten)), true, "extended"),
        (glass("A", ten), Some(glass("A", eleven)), false, "shortened"),
        (glass("B", ten), Some(glass("A", eleven)), true, "for another incident"),
        (glass("A", ten), Some(glass("A", "2026-06-01T07:00:00Z")), true, "begun again after its end"),
        (glass("A", ten), Some(glass("A", "2026-07-01T00:00:00Z")), true, "in place of one that never counted"),
        (none.clone(), Some(glass("A", ten)), false, "ended"),
        (none.clone(), None, false, "never there"),
    ];
    for (new, old, expected, case) in table {
        let used = BreakGlass::brought_in(&new, old.as_ref(), instant(NOW));
        assert_eq!(used.map(|glass| glass.is_some()), Ok(expected), "{case}");
    }
}

#[test]
fn only_a_write_that_brings_a_fault_in_has_it() {
    let (half, over) = (namespace(&[], &[("break-glass", "A")]), glass("A", "2026-06-01T07:00:00Z"));
    let far = glass("A", "2026-06-02T07:00:00Z");
    for faulty in [&half, &over, &far] {
        assert!(BreakGlass::brought_in(faulty, None, instant(NOW)).is_err());
        assert!(BreakGlass::brought_in(faulty, Some(&namespace(&[], &[])), instant(NOW)).is_err());
        assert_eq!(BreakGlass::brought_in(faulty, Some(faulty), instant(NOW)), Ok(None));
    }
    let whole = glass("A", "2026-06-01T09:00:00Z");
    assert_eq!(BreakGlass::brought_in(&half, Some(&whole), instant(NOW)), Err(BreakGlassFault::NoEnd));
}

proptest! {
    #[test]
    fn no_annotation_panics_or_holds_for_longer_than_four_hours(
        incident in ".{0,8}", until in "(2026-06-01T[01][0-9]:[0-5][0-9]:[0-5][0-9](Z|\\+0[0-9]:00))|.{0,30}",
    ) {
        let meta = glass(&incident, &until);
        let now = instant(NOW);
        if let Ok(Some(glass)) = BreakGlass::active(&meta, now) {
            prop_assert!(now < glass.until && glass.until.duration_since(now).as_hours() <= 4);
        }
        let _ = BreakGlass::brought_in(&meta, None, now).map_err(|fault| fault.to_string());
    }
}
