//! What stops an evaluation.

use super::*;

#[test]
fn stop_what_would_never_end() {
    let time = Duration::from_millis(20);
    let table = [
        (Backend::Vm, Limits { instructions: 10_000, ..AMPLE }, EvalError::OutOfInstructions { limit: 10_000 }),
        (Backend::Vm, Limits { time, instructions: usize::MAX }, EvalError::OutOfTime { limit: time }),
        (Backend::Interpreter, Limits { time, ..AMPLE }, EvalError::OutOfTime { limit: time }),
        (Backend::Interpreter, Limits { time, instructions: 1 }, EvalError::OutOfTime { limit: time }),
    ];
    for (backend, limits, expected) in table {
        let start = Instant::now();
        assert_eq!(run(ENDLESS, backend, json!({}), limits), Err(expected), "{backend:?} {limits:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{backend:?} took {:?}", start.elapsed());
    }
}

#[test]
fn leave_the_machine_fit_for_the_next_object() {
    let bounded = "violation contains {\"message\": m} if {\n\tr := numbers.range(1, input.size)\n\tsome x in r\n\t\
                   some y in r\n\tx + y == 2\n\tm := input.name\n}";
    let library = Library::new(&[]).unwrap();
    for backend in BACKENDS {
        let program = rego::compile(&library, &module(bounded), backend).unwrap();
        let mut machines = Machines::default();
        let limits = Limits { time: Duration::from_millis(50), instructions: 5_000 };
        let large = Value::from(json!({"size": 100_000, "name": "large"}));
        assert!(program.run(&mut machines, large, limits).is_err(), "{backend:?}");
        let small = Value::from(json!({"size": 2, "name": "small"}));
        let found = program.run(&mut machines, small, AMPLE).unwrap().violations;
        assert_eq!(serde_json::to_value(found).unwrap(), json!([{"message": "small"}]), "{backend:?}");
    }
}

#[test]
fn are_of_one_engine_and_not_of_the_process() {
    let long = "violation contains {\"message\": \"done\"} if {\n\tr := numbers.range(1, 300)\n\t\
                count([1 | some x in r; some y in r; x + y > 0]) == 90000\n}";
    std::thread::scope(|threads| {
        let short = Limits { time: Duration::from_millis(1), ..AMPLE };
        let impatient = threads.spawn(move || run(ENDLESS, Backend::Interpreter, json!({}), short));
        let patient = run(long, Backend::Interpreter, json!({}), AMPLE);
        assert_eq!(patient, Ok(json!([{"message": "done"}])));
        assert!(matches!(impatient.join().unwrap(), Err(EvalError::OutOfTime { .. })));
    });
}

#[test]
fn suffice_for_a_pod_of_five_hundred_containers() {
    let containers: Vec<Json> = (0..500).map(|index| json!({"name": format!("c{index}"), "image": "nginx"})).collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": containers}});
    let bundle = bundle_of(Vec::new());
    let limits = Limits { instructions: 1_000_000, ..AMPLE };
    let found = judged(&bundle, &["container-image-tag", "container-memory-limit"], pod, limits);
    let counts: Vec<usize> = found.iter().map(|judgement| judgement.violations().len()).collect();
    assert_eq!(counts, [500, 500]);
}

#[test]
fn end_with_the_request() {
    let bundle = bundle_of(vec![Own::new("first", ALWAYS).source(), Own::new("second", ALWAYS).source()]);
    let asked = Cell::new(0);
    let remaining = || {
        asked.set(asked.get() + 1);
        if asked.get() == 1 { Duration::from_secs(1) } else { Duration::ZERO }
    };
    let budget = Budget { limits: AMPLE, remaining: &remaining };
    let checks = checks_of(&bundle, &["first", "second", "first"]);
    let judgements = judge(&Input::new(&review_of(json!({}))), &checks, &mut Machines::default(), &budget);
    assert_eq!(messages(&judgements[0]), ["always"]);
    for late in &judgements[1..] {
        assert_eq!(late.outcome, Outcome::Failed(EvalError::NotReached));
    }
}

#[test]
fn a_rule_that_the_deadline_cuts_short_is_not_called_too_slow() {
    let bundle = bundle_of(vec![Own::new("endless", ENDLESS).source()]);
    let remaining = || Duration::from_millis(20);
    let judge = |time| {
        let budget = Budget { limits: Limits { time, ..AMPLE }, remaining: &remaining };
        let input = Input::new(&review_of(json!({})));
        let mut judgements = judge(&input, &checks_of(&bundle, &["endless"]), &mut Machines::default(), &budget);
        judgements.remove(0).outcome
    };
    assert_eq!(judge(Duration::from_mins(1)), Outcome::Failed(EvalError::NotReached));
    let limit = Duration::from_millis(10);
    assert_eq!(judge(limit), Outcome::Failed(EvalError::OutOfTime { limit }));
}
