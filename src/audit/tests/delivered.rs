//! What delivers objects.

use super::*;

/// Adds Argo CD's Applications of these names.
fn with_applications(mut answers: Answers, names: &[&str]) -> Answers {
    let groups = json!({"groups": [{"name": "argoproj.io",
        "versions": [{"groupVersion": "argoproj.io/v1alpha1", "version": "v1alpha1"}]}]});
    let resources = json!({"groupVersion": "argoproj.io/v1alpha1", "resources": [{"name": "applications",
        "singularName": "", "kind": "Application", "namespaced": true, "verbs": ["list", "watch"]}]});
    let items: Vec<Json> =
        names.iter().map(|name| json!({"metadata": {"namespace": "argocd", "name": name, "uid": name}})).collect();
    answers.insert("/apis".into(), vec![(200, groups)]);
    answers.insert("/apis/argoproj.io/v1alpha1".into(), vec![(200, resources)]);
    answers.insert("/apis/argoproj.io/v1alpha1/applications".into(), vec![page(&items, "")]);
    answers
}

#[tokio::test]
async fn a_label_names_the_application_that_is_there() {
    let labelled = |name: &str, key: &str, value: &str| {
        let mut pod = pod(name, "x:latest");
        pod["metadata"]["labels"] = json!({key: value});
        pod
    };
    let usual = "app.kubernetes.io/instance";
    let pods = [labelled("a", usual, "front"), labelled("b", usual, "nobody"), labelled("c", "tracked-by", "front")];
    let answers = |names: &[&str]| with_applications(cluster(vec![("", page(&pods, ""))]), names);
    let own = Config::parse("gatepost.yaml".as_ref(), "audit: {instanceLabelKey: tracked-by}").unwrap();
    for (config, expected) in [(Config::default(), "a"), (own, "c")] {
        let rules = Rules { config: Arc::new(config), ..rules() };
        let (mut memory, mut notes) = (Memory::default(), Notes::default());
        run(client(answers(&[])).0, &rules, &mut memory, &mut notes).await;
        assert_eq!(notes.delivered, BTreeMap::new(), "a label invents no Application");
        run(client(answers(&["front"])).0, &rules, &mut memory, &mut notes).await;
        assert_eq!(notes.delivered, BTreeMap::from([(expected.to_owned(), "front".to_owned())]));
    }
}
